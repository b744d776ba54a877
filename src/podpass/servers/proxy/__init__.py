"""The process of the migration sidecar."""
