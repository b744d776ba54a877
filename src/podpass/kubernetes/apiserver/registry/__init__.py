"""Create, update and delete stored objects, and serve their subresources."""
