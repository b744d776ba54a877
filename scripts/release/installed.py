"""A chart of the release on an instance of its wheel: the pods' commands are those of the wheel."""

import base64
import contextlib
import datetime as dt
import http.client
import ipaddress
import json
import secrets
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import programs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NAMESPACE, TENANT = "podpass", "11111111-2222-4333-8444-555555555555"
# The chart's ports of the service and of its probes: without networks of their own, pods use the machine's.
_PORTS = (8443, 8095)
# The machine reaches a pod of a Service at the pod's address.
_POD_ADDRESS = f"""
import asyncio, sys
from pathlib import Path
from podpass.kubernetes.client import KubeClient

async def main():
    async with KubeClient.from_kubeconfig(Path(sys.argv[1])) as kube:
        pods = (await kube.get("/api/v1/namespaces/{NAMESPACE}/pods"))["items"]
        print(next(pod["status"]["podIP"] for pod in pods if pod["status"]["phase"] == "Running"))

asyncio.run(main())
"""


class PortInUse(Exception):
    """A port that the chart uses is in use on this machine."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A running instance of the installed wheel."""

    folder: Path
    kubeconfig: str


def environment(work: Path) -> dict[str, str]:
    """Return the variables of a user whose home is an empty folder, without the checkout on the PATH."""
    return {
        "HOME": str(work),
        "PATH": f"{work / 'venv' / 'bin'}:/usr/local/bin:/usr/bin:/bin:/usr/sbin",
    }


@contextlib.contextmanager
def instance(work: Path) -> Iterator[Instance]:
    """Run an instance on free ports, and stop it."""
    podpass, data = str(work / "venv" / "bin" / "podpass"), ("--data-dir", str(work / "data"))
    variables = environment(work)
    programs.run(podpass, "up", *data, "--detach", "--port-base", "0", environ=variables, only=True)
    try:
        output = programs.run(podpass, "status", *data, "-o", "json", environ=variables, only=True)
        yield Instance(work, json.loads(output)["kubernetes"]["kubeconfig"])
    finally:
        programs.run(podpass, "down", *data, environ=variables, only=True)


def install_authority(helm: str, chart: tuple[str, ...], running: Instance) -> None:
    """Install the chart of the token service, request its discovery document, and uninstall it.

    Raises PortInUse, ProgramFailed.
    """
    for port in _PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise PortInUse(f"port {port}, which the chart uses, is in use on this machine")
    folder = running.folder / "service"
    folder.mkdir()
    authority = _write_certificate(folder)
    variables = {**environment(running.folder), "KUBECONFIG": running.kubeconfig}
    options = ("--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "180s")

    def run_helm(*arguments: str) -> None:
        programs.run(helm, *arguments, *options, environ=variables, only=True)

    run_helm("install", "objects", str(_chart_of_secrets(folder)))
    values = folder / "values.json"
    values.write_text(json.dumps(_values(folder)))
    run_helm("install", "podpass-authority", *chart, "--values", str(values))
    python = str(running.folder / "venv" / "bin" / "python")
    address = programs.run(
        python, "-c", _POD_ADDRESS, running.kubeconfig, environ=variables, only=True
    ).strip()
    try:
        document = _read_discovery_document(address, authority)
    except (OSError, http.client.HTTPException) as exc:
        raise programs.ProgramFailed(
            f"the service of the chart does not answer at {address}:{_PORTS[0]}: {exc}"
        ) from exc
    if document["token_endpoint"] != f"https://localhost:{_PORTS[0]}/{TENANT}/oauth2/v2.0/token":
        raise programs.ProgramFailed(f"the service has another token endpoint: {document}")
    programs.run(helm, "uninstall", "podpass-authority", *options[:2], environ=variables, only=True)


def _read_discovery_document(address: str, authority: str) -> Mapping[str, str]:
    """Request the document from a pod as a client that resolves `localhost` to its address."""
    connection = http.client.HTTPSConnection("localhost", _PORTS[0])
    plain = socket.create_connection((address, _PORTS[0]), timeout=30)
    context = ssl.create_default_context(cadata=authority)
    with context.wrap_socket(plain, server_hostname="localhost") as connection.sock:
        connection.request("GET", f"/{TENANT}/v2.0/.well-known/openid-configuration")
        document: Mapping[str, str] = json.load(connection.getresponse())
    return document


def _values(folder: Path) -> Mapping[str, object]:
    return {
        "image": {"repository": "podpass"},
        "origin": f"https://localhost:{_PORTS[0]}",
        "tenantID": TENANT,
        "replicaCount": 1,
        "workers": 1,
        "shutdownDelaySeconds": 0,
        "runAsUser": None,
        # The seed creates the tenant.
        "seed": {"identities": [{"name": "web"}]},
        # The containers of the chart have a read-only root.
        "extraVolumes": [{"name": "data", "hostPath": {"path": str(folder)}}],
        "extraVolumeMounts": [{"name": "data", "mountPath": str(folder)}],
    }


def _chart_of_secrets(folder: Path) -> Path:
    """Write a chart with the three Secrets that an administrator creates."""
    data = {
        "sealing": {"sealing.key": secrets.token_bytes(32)},
        "database": {"url": f"sqlite:///{folder}/authority.sqlite".encode()},
        "tls": {name: (folder / name).read_bytes() for name in ("tls.crt", "tls.key")},
    }
    chart = folder / "secrets"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: secrets\nversion: 1.0.0\n")
    for name, content in data.items():
        encoded = {key: base64.b64encode(value).decode() for key, value in content.items()}
        one = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls" if name == "tls" else "Opaque",
            "metadata": {"name": f"podpass-authority-{name}"},
            "data": encoded,
        }
        (chart / "templates" / f"{name}.yaml").write_text(json.dumps(one))
    return chart


def _write_certificate(folder: Path) -> str:
    """Write a certificate for `localhost` that is its own authority; return it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    text = certificate.public_bytes(serialization.Encoding.PEM).decode()
    (folder / "tls.crt").write_text(text)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "tls.key").write_bytes(secret)
    return text
