"""The command lines of a control plane: what each of its programs is told.

Everything listens on loopback, and every port wants a certificate of the instance's authority: etcd holds
all Secrets in the open, and any user of the machine can reach a port.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podpass.kubernetes.service_account.discovery import base
from podpass.kubernetes.service_account.names import JWKS_PATH
from podpass.local import ca
from podpass.local.control_plane.programs import Programs
from podpass.local.datadir import DataDir

API_AUDIENCE = "https://kubernetes.default.svc"
CONTROLLERS_KUBECONFIG = "controllers.kubeconfig"
_HOST = "127.0.0.1"
_SERVICE_ADDRESSES = "10.96.0.0/16"
_MEMBER = "podpass"
_NOBODY = "nobody"  # there is one member


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the command lines are made of.

    Shapes:  `port` is the API server's, `etcd_ports` those for its clients and its peers; `keys` are the
             files of the issuer's private keys, the one that signs last; `more` goes to the API server and
             `more_controllers` to the controllers, after all else.
    """

    programs: Programs
    data_dir: DataDir
    issuer: str
    port: int
    etcd_ports: tuple[int, int]
    keys: Sequence[Path]
    more: Sequence[str] = ()
    more_controllers: Sequence[str] = ()


def etcd(layout: Layout) -> list[str]:
    """Start the store, on data that outlives it."""
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
        *_mutual("", *leaf),
        *_mutual("peer-", *leaf),
        # The authority's other certificates, such as the webhook's, would pass every role by here.
        f"--client-cert-allowed-hostname={ca.STORE_NAME}",
        f"--peer-cert-allowed-hostname={_NOBODY}",
        # It would be a client of its own with a certificate that is for servers only.
        "--enable-grpc-gateway=false",
        "--log-level=warn",
    ]


def _mutual(prefix: str, certificate: Path, key: Path, authority: Path) -> list[str]:
    return [
        f"--{prefix}client-cert-auth=true",
        f"--{prefix}trusted-ca-file={authority}",
        f"--{prefix}cert-file={certificate}",
        f"--{prefix}key-file={key}",
    ]


def api_server(layout: Layout) -> list[str]:
    """Start the API server, with the instance's issuer for its tokens."""
    return [
        str(layout.programs.api_server),
        *_storage(layout),
        *_serving(layout),
        *_tokens(layout),
        "--authorization-mode=RBAC",
        f"--service-cluster-ip-range={_SERVICE_ADDRESSES}",
        # A Service of loopback addresses would be refused, and nothing here reads it.
        "--endpoint-reconciler-type=none",
        "--allow-privileged=true",
        "--profiling=false",
        # Nobody would make the accounts that it wants every pod to have.
        *([] if layout.programs.controllers else ["--disable-admission-plugins=ServiceAccount"]),
        *layout.more,
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
        f"--tls-cert-file={tls.certificate('leaf')}",
        f"--tls-private-key-file={tls.key('leaf')}",
        f"--client-ca-file={tls.ca_file}",
        # The node's name is one that no resolver knows.
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-certificate-authority={tls.ca_file}",
        f"--kubelet-client-certificate={tls.certificate(ca.KUBELET_CLIENT)}",
        f"--kubelet-client-key={tls.key(ca.KUBELET_CLIENT)}",
    ]


def _tokens(layout: Layout) -> list[str]:
    return [
        f"--service-account-issuer={layout.issuer}",
        f"--service-account-jwks-uri={base(layout.issuer)}{JWKS_PATH}",
        f"--service-account-signing-key-file={layout.keys[-1]}",
        *(f"--service-account-key-file={key}" for key in layout.keys),
        f"--api-audiences={API_AUDIENCE}",
    ]


def controllers(layout: Layout) -> list[str]:
    """Start the controllers, each under an account of its own; they listen nowhere."""
    return [
        str(layout.programs.controllers),
        f"--kubeconfig={layout.data_dir.path(CONTROLLERS_KUBECONFIG)}",
        f"--root-ca-file={layout.data_dir.ca_file}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--secure-port=0",
        "--profiling=false",
        *layout.more_controllers,
    ]
