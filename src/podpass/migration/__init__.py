"""Moves workloads from pod identity to workload identity: reads what there is, and changes nothing."""
