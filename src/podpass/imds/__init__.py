"""Stage 6: the migration sidecar. It answers IMDS requests with tokens of Workload ID."""
