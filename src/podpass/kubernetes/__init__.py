"""A small Kubernetes in one process, independent of Azure: client, API server, controllers and kubelet."""
