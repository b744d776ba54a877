"""`podpass webhook`: the admission webhook as a process of its own, for a cluster."""
