"""The processes that run on a cluster, one package each: `authority` and `webhook`."""
