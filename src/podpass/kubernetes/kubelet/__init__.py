"""A small kubelet: pods of the cluster as processes of this machine.

In: the Kubernetes API, and only that, so it serves an embedded and a real API server alike. Out: processes,
their volumes and tokens, pod status, events, logs over HTTPS. Read `runtime` first, then `pods`, `worker`;
what to do next is decided in `lifecycle`, what to tell the cluster in `status`, both without I/O.
"""
