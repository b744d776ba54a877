"""`podpass authority`, the token service in a cluster: supervisor, workers, probes, admin APIs."""
