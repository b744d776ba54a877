"""`podpass webhook`: the process that serves the admission webhook in a cluster."""
