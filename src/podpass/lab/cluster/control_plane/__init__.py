"""A real Kubernetes control plane: etcd, kube-apiserver and kube-controller-manager as child processes.

Input: the programs, the instance's certificates and its issuer's keys. Output: an API server on loopback that
is ready for pods. It has no scheduler and no kubelet: podpass's kubelet is both.
"""
