"""Create, update, delete and the subresources of stored objects."""
