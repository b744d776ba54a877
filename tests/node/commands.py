"""The command lines and the configuration files of the node's programs.

Ports are fixed: they are ports of the sandbox's own network.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podpass.local.control_plane.commands import (
    controller_flags,
    key_file_flags,
    tls_flags,
    token_flags,
)
from tests.node.pki import NODE_NAME, SERVICE_NETWORK, Pki
from tests.node.programs import CNI_FOLDER
from tests.node.sandbox import NODE_ADDRESS

PAUSE_IMAGE = "podpass.test/pause:1"
DNS_ADDRESS = "10.96.0.10"
RUNTIME = "/run/containerd/containerd.sock"
MAX_PODS = 250
_ETCD = "http://127.0.0.1:2379"
_POD_NETWORK = "10.244.0.0/16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the command lines have in common.

    Shapes:  `issuer` and `issuer_keys` are those of the cloud half's issuer, the active key last; `cgroup` is
             the parent of all pods' cgroups.
    """

    folder: Path
    pki: Pki
    issuer: str
    issuer_keys: Sequence[Path]
    cgroup: str


def etcd(layout: Layout) -> list[str]:
    """Return the arguments of etcd; nothing of a run must survive a power failure."""
    peer = "http://127.0.0.1:2380"
    return [
        f"--data-dir={layout.folder / 'etcd'}",
        *(f"--listen-client-urls={_ETCD}", f"--advertise-client-urls={_ETCD}"),
        *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
        *(f"--initial-cluster=default={peer}", "--unsafe-no-fsync", "--log-level=warn"),
    ]


def api_server(layout: Layout) -> list[str]:
    """Return the arguments of the API server; its tokens have the issuer of the cloud half."""
    pki = layout.pki
    return [
        f"--etcd-servers={_ETCD}",
        *("--bind-address=0.0.0.0", f"--advertise-address={NODE_ADDRESS}", "--secure-port=6443"),
        *tls_flags(
            pki.ca,
            server=(pki.certificate("api-server"), pki.key("api-server")),
            kubelet_client=(pki.certificate("kubelet-client"), pki.key("kubelet-client")),
        ),
        *token_flags(layout.issuer, key_file_flags(layout.issuer_keys)),
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        *("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"),
        *("--allow-privileged=true", "--profiling=false"),
        # A test shortens the lifetime of tokens with a policy, a kind that is off by default.
        "--feature-gates=MutatingAdmissionPolicy=true",
        "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
    ]


def controllers(layout: Layout) -> list[str]:
    """Return the arguments of the controllers."""
    return controller_flags(layout.pki.kubeconfig("controllers"), layout.pki.ca)


def scheduler(layout: Layout) -> list[str]:
    """Return the arguments of the scheduler."""
    kubeconfig = layout.pki.kubeconfig("scheduler")
    return [f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--secure-port=0"]


def proxy(layout: Layout) -> list[str]:
    """Return the arguments of kube-proxy."""
    return [
        f"--kubeconfig={layout.pki.kubeconfig('proxy')}",
        *("--proxy-mode=iptables", f"--cluster-cidr={_POD_NETWORK}", "--profiling=false"),
        # The limit of a real node's connection table is not one of this machine.
        *("--conntrack-max-per-core=0", f"--hostname-override={NODE_NAME}"),
    ]


def containerd(layout: Layout) -> list[str]:
    """Write the configuration of containerd and of its pod network, and return its arguments."""
    networks = layout.folder / "cni"
    networks.mkdir(exist_ok=True)
    (networks / "10-pods.conflist").write_text(json.dumps(_network()))
    config = layout.folder / "containerd.toml"
    # Without restrict_oom_score_adj a node without CAP_SYS_RESOURCE starts no pod.
    config.write_text(f"""version = 2
root = "{layout.folder / "containerd"}"
state = "/run/containerd"
[grpc]
address = "{RUNTIME}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_FOLDER}"
conf_dir = "{networks}"
""")
    return [f"--config={config}", "--log-level=warn"]


def _network() -> dict[str, object]:
    # Each pod has its own link: traffic between pods passes the rules of kube-proxy as well.
    ranges = [[{"subnet": _POD_NETWORK}]]
    addresses = {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]}
    link = {"type": "ptp", "ipMasq": True, "ipam": addresses}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [link]}


def kubelet(layout: Layout) -> list[str]:
    """Write the configuration of the kubelet, and return its arguments."""
    resolver, config = layout.folder / "resolv.conf", layout.folder / "kubelet.yaml"
    resolver.write_text(f"nameserver {NODE_ADDRESS}\n")
    client_ca = {"clientCAFile": str(layout.pki.ca)}
    config.write_text(
        json.dumps(
            {
                "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "kind": "KubeletConfiguration",
                "authentication": {"anonymous": {"enabled": False}, "x509": client_ca},
                "authorization": {"mode": "Webhook"},
                "cgroupDriver": "cgroupfs",
                "cgroupRoot": layout.cgroup,
                "clusterDNS": [DNS_ADDRESS],
                "clusterDomain": "cluster.local",
                "containerRuntimeEndpoint": f"unix://{RUNTIME}",
                "enforceNodeAllocatable": [],
                "evictionHard": {"memory.available": "0%"},
                "failSwapOn": False,
                "localStorageCapacityIsolation": False,
                "maxPods": MAX_PODS,
                "resolvConf": str(resolver),
                "syncFrequency": "10s",
                "volumePluginDir": str(layout.folder / "volume-plugins"),
            }
        )
    )
    kubeconfig = layout.pki.kubeconfig("kubelet")
    return [
        *(f"--config={config}", f"--kubeconfig={kubeconfig}"),
        *(f"--hostname-override={NODE_NAME}", f"--node-ip={NODE_ADDRESS}"),
    ]
