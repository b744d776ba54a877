"""Certificates and kubeconfigs of the cluster's parts, from a CA of the run."""

from dataclasses import dataclass, field
from pathlib import Path

import trustme
import yaml

from tests.kubeconfigs import build_kubeconfig
from tests.node.network import Network

NODE_NAME = "node-1"
_SERVER_NAMES = (
    *("kubernetes", "kubernetes.default", "kubernetes.default.svc"),
    "kubernetes.default.svc.cluster.local",
    *("127.0.0.1", "localhost"),
)
# User and group of each client; Kubernetes' own roles are bound to these.
_CLIENTS = {
    "admin": ("admin", "system:masters"),
    "kubelet-client": ("kube-apiserver-kubelet-client", "system:masters"),
    "kubelet": (f"system:node:{NODE_NAME}", "system:nodes"),
    "controllers": ("system:kube-controller-manager", "system:kube-controller-manager"),
    "scheduler": ("system:kube-scheduler", "system:kube-scheduler"),
    "proxy": ("system:kube-proxy", "system:kube-proxy"),
}


@dataclass(frozen=True, slots=True)
class Pki:
    """The files of a CA, in one folder."""

    folder: Path
    network: Network
    _ca: trustme.CA = field(default_factory=trustme.CA)

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def kubeconfig(self, name: str) -> Path:
        return self.folder / f"{name}.kubeconfig"

    def write(self) -> None:
        """Write the CA, the API server's certificate, and a kubeconfig for each client."""
        self.folder.mkdir()
        self._ca.cert_pem.write_to_path(str(self.ca))
        families = self.network.families
        addresses = [item for each in families for item in (each.api_service, each.node)]
        self._write("api-server", self._ca.issue_cert(*_SERVER_NAMES, *addresses))
        for name, (user, group) in _CLIENTS.items():
            leaf = self._ca.issue_cert(f"{name}.test", common_name=user, organization_name=group)
            self._write(name, leaf)
            self.kubeconfig(name).write_text(yaml.safe_dump(self._kubeconfig(name)))

    def _write(self, name: str, leaf: trustme.LeafCert) -> None:
        leaf.private_key_pem.write_to_path(str(self.key(name)))
        for index, pem in enumerate(leaf.cert_chain_pems):
            pem.write_to_path(str(self.certificate(name)), append=index > 0)

    def _kubeconfig(self, name: str) -> dict[str, object]:
        user = {
            "client-certificate": str(self.certificate(name)),
            "client-key": str(self.key(name)),
        }
        trust = {"certificate-authority": str(self.ca)}
        return build_kubeconfig(self.network.server, user, name="node", **trust)
