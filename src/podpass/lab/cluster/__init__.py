"""The cluster half of a local instance: kubeling or a real control plane, images, and the managed cluster."""
