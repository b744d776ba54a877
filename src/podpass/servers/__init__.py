"""The processes that run in a cluster, one package for each."""
