"""A small Kubernetes in one process: client, API server, controllers, kubelet. Independent of Azure."""
