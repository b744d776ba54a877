"""Tools for the migration from pod identity to workload identity; they change nothing on the cluster."""
