"""A real Kubernetes control plane: etcd, kube-apiserver and its controllers, as processes of the instance.

In: their programs, the instance's certificates and its issuer's keys. Out: an API server on loopback that is
ready for pods. There is neither scheduler nor kubelet in it: the runtime is both.
"""
