"""A small kubelet: it runs the pods of a cluster as processes of this machine.

It uses only the Kubernetes API, so it works with an embedded and with a real API server. It starts processes,
sets up their volumes and tokens, and reports pod status and events; it serves logs over HTTPS. Read `kubelet`
first, then `pod_manager` and `pod_worker`. `lifecycle` decides what to start and stop and `status` builds the
pod status, both without I/O.
"""
