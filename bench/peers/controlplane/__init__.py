"""The Kubernetes releases that are built, and their packages; one go.mod pins each release.

etcd has the version that the release itself is tested with. Only releases that module proxies serve are here.
"""

from bench.peers.model import Program

# CI runs the first; the others are the newest and the oldest that are served.
VERSIONS = ("1.34.4", "1.37.2", "1.29.15")
NAMES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
}
# What a real node and its pods need as well; `make test-node` runs them.
NODE = {
    "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubelet": "k8s.io/kubernetes/cmd/kubelet",
}
# What kind's nodes need as well; `make test-kind` runs it.
KIND = {"kubeadm": "k8s.io/kubernetes/cmd/kubeadm"}
# Kubernetes' own end-to-end tests, and the program that most of their pods run.
TESTS = {
    "e2e.test": "k8s.io/kubernetes/test/e2e",
    "agnhost": "k8s.io/kubernetes/test/images/agnhost",
}
_VERSION = "k8s.io/component-base/version"


def programs(version: str) -> dict[str, Program]:
    """Return the programs of a release by name."""
    major, minor, _ = version.split(".")
    # Without these flags the server reports v0.0.0, and clients that check the version refuse it.
    said = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor}
    ldflags = " ".join(["-s -w", *(f"-X {_VERSION}.{key}={value}" for key, value in said.items())])
    return {
        name: Program(
            folder=f"controlplane/{version}",
            package=package,
            ldflags=ldflags,
            is_test=name == "e2e.test",
        )
        for name, package in (NAMES | NODE | KIND | TESTS).items()
    }
