"""An optional plugin: Intel's multi-buffer library signs eight tokens at once."""
