"""The command lines and the configuration files of the node's programs.

Ports are fixed: they are ports of the sandbox's own network.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podpass.lab.cluster.control_plane.commands import (
    controller_flags,
    key_file_flags,
    tls_flags,
    token_flags,
)
from tests.node.network import Network
from tests.node.pki import NODE_NAME, Pki
from tests.node.programs import CNI_FOLDER

PAUSE_IMAGE = "podpass.test/pause:1"
RUNTIME = "/run/containerd/containerd.sock"
MAX_PODS = 250
_ETCD = "http://127.0.0.1:2379"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the command lines have in common.

    `issuer` and `issuer_keys` are those of the cloud half's issuer, the active key last; `cgroup` is the
    parent of all pods' cgroups.
    """

    folder: Path
    pki: Pki
    issuer: str
    issuer_keys: Sequence[Path]
    cgroup: str

    @property
    def network(self) -> Network:
        return self.pki.network


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
    pki, network = layout.pki, layout.network
    return [
        f"--etcd-servers={_ETCD}",
        *(f"--bind-address={network.first.all_addresses}", "--secure-port=6443"),
        f"--advertise-address={network.first.node}",
        *tls_flags(
            pki.ca,
            server=(pki.certificate("api-server"), pki.key("api-server")),
            kubelet_client=(pki.certificate("kubelet-client"), pki.key("kubelet-client")),
        ),
        *token_flags(layout.issuer, key_file_flags(layout.issuer_keys)),
        f"--service-cluster-ip-range={network.join('services')}",
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
        *(
            "--proxy-mode=iptables",
            f"--cluster-cidr={layout.network.join('pods')}",
            "--profiling=false",
        ),
        # It also selects the family of the addresses.
        f"--bind-address={layout.network.first.all_addresses}",
        # The limit of a real node's connection table is not one of this machine.
        *("--conntrack-max-per-core=0", f"--hostname-override={NODE_NAME}"),
    ]


def containerd(layout: Layout) -> list[str]:
    """Write the configuration of containerd and of its pod network, and return its arguments."""
    networks = layout.folder / "cni"
    networks.mkdir(exist_ok=True)
    (networks / "10-pods.conflist").write_text(json.dumps(_pod_network(layout.network)))
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


def _pod_network(network: Network) -> dict[str, object]:
    # Each pod has its own link: traffic between pods passes the rules of kube-proxy as well.
    ranges = [[{"subnet": each.pods}] for each in network.families]
    routes = [{"dst": each.default_route} for each in network.families]
    addresses = {"type": "host-local", "ranges": ranges, "routes": routes}
    link = {"type": "ptp", "ipMasq": True, "ipam": addresses}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [link]}


def kubelet(layout: Layout) -> list[str]:
    """Write the configuration of the kubelet, and return its arguments."""
    resolver, config = layout.folder / "resolv.conf", layout.folder / "kubelet.yaml"
    resolver.write_text(f"nameserver {layout.network.first.node}\n")
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
                "clusterDNS": [layout.network.first.dns_service],
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
        *(f"--hostname-override={NODE_NAME}", f"--node-ip={layout.network.join('node')}"),
    ]
