"""The command lines of the programs of a control plane.

All programs listen on loopback, and every port requires a client certificate of the instance's CA: etcd
stores Secrets unencrypted, and every user of the machine can reach a loopback port.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podpass.kubernetes.service_account.discovery import issuer_base
from podpass.kubernetes.service_account.names import JWKS_PATH
from podpass.lab.cluster.control_plane.programs import Programs
from podpass.lab.data import ca
from podpass.lab.data.datadir import DataDir

API_AUDIENCE = "https://kubernetes.default.svc"
CONTROLLERS_KUBECONFIG = "controllers.kubeconfig"
_HOST = "127.0.0.1"
_SERVICE_ADDRESSES = "10.96.0.0/16"
_MEMBER = "podpass"
_NO_PEER = "nobody"  # no peer may connect: there is only one member


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The parameters of the command lines.

    `port` is the port of the API server; `etcd_ports` are etcd's client and peer ports; `keys` are the files
    of the issuer's private keys, the active key last; `token_args` are flags that replace those of `keys`;
    `api_server_args` and `controller_args` are extra flags.
    """

    programs: Programs
    data_dir: DataDir
    issuer: str
    port: int
    etcd_ports: tuple[int, int]
    keys: Sequence[Path]
    token_args: Sequence[str] = ()
    api_server_args: Sequence[str] = ()
    controller_args: Sequence[str] = ()


def etcd(layout: Layout) -> list[str]:
    """Return the command line of etcd; its data stays in the data directory."""
    tls = layout.data_dir
    leaf = (tls.certificate("leaf"), tls.key("leaf"), tls.ca_file)
    client, peer = (f"https://{_HOST}:{port}" for port in layout.etcd_ports)
    return [
        str(layout.programs.etcd),
        f"--name={_MEMBER}",
        f"--data-dir={tls.path('etcd')}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster={_MEMBER}={peer}",
        *_mutual_tls("", *leaf),
        *_mutual_tls("peer-", *leaf),
        # Without this, other certificates of the CA, such as the webhook's, could bypass RBAC here.
        f"--client-cert-allowed-hostname={ca.ETCD_CLIENT_NAME}",
        f"--peer-cert-allowed-hostname={_NO_PEER}",
        # The gateway is an etcd client and would use a certificate that is for servers only.
        "--enable-grpc-gateway=false",
        "--log-level=warn",
    ]


def _mutual_tls(prefix: str, certificate: Path, key: Path, ca_file: Path) -> list[str]:
    return [
        f"--{prefix}client-cert-auth=true",
        f"--{prefix}trusted-ca-file={ca_file}",
        f"--{prefix}cert-file={certificate}",
        f"--{prefix}key-file={key}",
    ]


def api_server(layout: Layout) -> list[str]:
    """Return the command line of the API server; its tokens have the instance's issuer."""
    return [
        str(layout.programs.api_server),
        *_storage(layout),
        *_serving(layout),
        *token_flags(layout.issuer, layout.token_args or key_file_flags(layout.keys)),
        "--authorization-mode=RBAC",
        f"--service-cluster-ip-range={_SERVICE_ADDRESSES}",
        # A Service with loopback endpoints would be refused, and no part needs it.
        "--endpoint-reconciler-type=none",
        "--allow-privileged=true",
        "--profiling=false",
        # Without controllers there is no default ServiceAccount, which this plugin requires.
        *([] if layout.programs.controllers else ["--disable-admission-plugins=ServiceAccount"]),
        *layout.api_server_args,
    ]


def _storage(layout: Layout) -> list[str]:
    tls = layout.data_dir
    return [
        f"--etcd-servers=https://{_HOST}:{layout.etcd_ports[0]}",
        f"--etcd-cafile={tls.ca_file}",
        f"--etcd-certfile={tls.certificate(ca.ETCD_CLIENT)}",
        f"--etcd-keyfile={tls.key(ca.ETCD_CLIENT)}",
    ]


def _serving(layout: Layout) -> list[str]:
    tls = layout.data_dir
    return [
        f"--bind-address={_HOST}",
        f"--advertise-address={_HOST}",
        f"--secure-port={layout.port}",
        f"--kubelet-certificate-authority={tls.ca_file}",
        *tls_flags(
            tls.ca_file,
            server=(tls.certificate("leaf"), tls.key("leaf")),
            kubelet_client=(tls.certificate(ca.KUBELET_CLIENT), tls.key(ca.KUBELET_CLIENT)),
        ),
    ]


def tls_flags(
    ca_file: Path, *, server: tuple[Path, Path], kubelet_client: tuple[Path, Path]
) -> list[str]:
    """Return the API server's flags for its certificate, its client certificate and the clients' CA.

    `server` and `kubelet_client` are the files of a certificate and of its key.
    """
    return [
        f"--tls-cert-file={server[0]}",
        f"--tls-private-key-file={server[1]}",
        f"--client-ca-file={ca_file}",
        # The node name does not resolve.
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-client-certificate={kubelet_client[0]}",
        f"--kubelet-client-key={kubelet_client[1]}",
    ]


def token_flags(issuer: str, keys: Sequence[str]) -> list[str]:
    """Return the API server's flags for ServiceAccount tokens, with those for its keys."""
    return [
        f"--service-account-issuer={issuer}",
        f"--service-account-jwks-uri={issuer_base(issuer)}{JWKS_PATH}",
        *keys,
        f"--api-audiences={API_AUDIENCE}",
    ]


def key_file_flags(keys: Sequence[Path]) -> list[str]:
    """Return the API server's flags for key files; the last key signs, every key verifies."""
    return [
        f"--service-account-signing-key-file={keys[-1]}",
        *(f"--service-account-key-file={key}" for key in keys),
    ]


def controllers(layout: Layout) -> list[str]:
    """Return the command line of the controllers."""
    return [
        str(layout.programs.controllers),
        *controller_flags(layout.data_dir.path(CONTROLLERS_KUBECONFIG), layout.data_dir.ca_file),
        *layout.controller_args,
    ]


def controller_flags(kubeconfig: Path, ca_file: Path) -> list[str]:
    """Return the flags of the controllers; each uses its own account, and none listens on a port."""
    return [
        f"--kubeconfig={kubeconfig}",
        f"--root-ca-file={ca_file}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--secure-port=0",
        "--profiling=false",
    ]
