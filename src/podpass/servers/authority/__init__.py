"""`podpass authority`: the token service as a process of its own, for a cluster."""
