"""Which Kubernetes releases are built, and from which packages; one go.mod pins each release whole.

The etcd is the one that the release itself is tested with. Releases are those that module proxies serve.
"""

from bench.peers.model import Program

# The first is what CI runs; then the newest served, and the oldest.
VERSIONS = ("1.34.4", "1.37.2", "1.29.15")
NAMES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
}
_VERSION = "k8s.io/component-base/version"


def programs(version: str) -> dict[str, Program]:
    """Give the programs of a release by name."""
    major, minor, _ = version.split(".")
    # Without them it says v0.0.0, and clients that look at versions refuse it.
    said = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor}
    ldflags = " ".join(["-s -w", *(f"-X {_VERSION}.{key}={value}" for key, value in said.items())])
    return {
        name: Program(folder=f"controlplane/{version}", package=package, ldflags=ldflags)
        for name, package in NAMES.items()
    }
