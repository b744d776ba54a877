"""The token service on the node, as the guide installs it: PostgreSQL in a pod, Secrets, the chart."""

import contextlib
import secrets
import string
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
import yaml

from tests import postgres
from tests.node import images
from tests.node.node import CLIENT_IMAGE, PODPASS_IMAGE, Node
from tests.node.objects import RESTRICTED, container
from tests.node.sandbox import wait_until

CHART = images.ROOT / "charts" / "podpass-authority"
NAMESPACE = "podpass"
RELEASE = "podpass-authority"
DEPLOYMENT = f"deployment/{RELEASE}"
REPLICAS = 3
ORIGIN = f"https://{RELEASE}.{NAMESPACE}.svc"
# Less than the time of a command in the sandbox.
SECONDS = 280
_TENANT = "11111111-2222-4333-8444-555555555555"
_API = "66666666-7777-4888-8999-aaaaaaaaaaaa"
_AUDIENCE = "api://my-authority"
# Both trust the ServiceAccount of the load; the third client trusts another ServiceAccount.
_CLIENTS = ("77777777-8888-4999-8aaa-bbbbbbbbbbbb", "99999999-aaaa-4bbb-8ccc-dddddddddddd")
_REFUSED = "88888888-9999-4aaa-8bbb-cccccccccccc"
_DATABASE_IMAGE = "podpass.test/postgres:1"
_LOAD = Path(__file__).with_name("exchange_load.py")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request of the load: when it ended, and its result (see `exchange_load`)."""

    at: float
    result: str
    detail: str


def install(node: Node) -> None:
    """Follow the section "Install on a cluster" of the guide."""
    password = secrets.token_hex(16)
    _start_database(node, password)
    node.kubectl("apply", "-f", str(images.ROOT / "deploy" / "authority" / "namespace.yaml"))
    folder = node.sandbox.folder / "authority"
    folder.mkdir()
    ca = trustme.CA()
    leaf = ca.issue_cert(ORIGIN.removeprefix("https://"))
    ca.cert_pem.write_to_path(str(folder / "ca.crt"))
    leaf.private_key_pem.write_to_path(str(folder / "tls.key"))
    leaf.cert_chain_pems[0].write_to_path(str(folder / "tls.crt"))
    (folder / "sealing.key").write_bytes(secrets.token_bytes(32))
    (folder / "url").write_text(f"postgresql://podpass:{password}@database.database.svc/postgres")
    create = ("-n", NAMESPACE, "create", "secret")
    for name, key in (("sealing", "sealing.key"), ("database", "url")):
        file = f"--from-file={folder / key}"
        node.kubectl(*create, "generic", f"podpass-authority-{name}", file)
    pair = (f"--cert={folder / 'tls.crt'}", f"--key={folder / 'tls.key'}")
    node.kubectl(*create, "tls", "podpass-authority-tls", *pair)
    (folder / "authority.yaml").write_text(yaml.safe_dump(_values(node)))
    run_helm(node, "install")


def run_helm(node: Node, command: str, *more: str) -> None:
    """Install or upgrade the chart with the values of the guide."""
    values = str(node.sandbox.folder / "authority" / "authority.yaml")
    where = ("--namespace", NAMESPACE, "--values", values, "--wait", "--timeout", f"{SECONDS}s")
    node.helm(command, RELEASE, str(CHART), *where, *more)


def podpass(node: Node, *arguments: str) -> str:
    """Run podpass in a pod of the service; return its output."""
    return node.kubectl("-n", NAMESPACE, "exec", DEPLOYMENT, "--", "podpass", *arguments)


def _values(node: Node) -> dict[str, object]:
    def credential(name: str) -> dict[str, object]:
        subject = f"system:serviceaccount:load:{name}"
        about = {"issuer": "cluster", "subject": subject, "audiences": [_AUDIENCE]}
        return {"name": "load", **about}

    accounts = {_CLIENTS[0]: "web", _CLIENTS[1]: "web", _REFUSED: "another"}
    identities: list[dict[str, object]] = [
        {"name": f"web-{index}", "client_id": client, "federated_credentials": [credential(name)]}
        for index, (client, name) in enumerate(accounts.items())
    ]
    identities.append({"name": "orders", "kind": "application", "client_id": _API})
    return {
        "origin": ORIGIN,
        "tenantID": _TENANT,
        "image": {"repository": PODPASS_IMAGE},
        "cluster": {"issuer": node.cloud.issuer},
        "replicaCount": REPLICAS,
        "workers": 1,
        # The node is a small machine, and other programs run on it.
        "resources": {"requests": {"cpu": "100m", "memory": "96Mi"}},
        "seed": {"identities": identities},
    }


def _start_database(node: Node, password: str) -> None:
    programs = postgres.binaries()
    data = Path("/usr/share/postgresql") / programs.parent.name
    if not data.is_dir():
        pytest.skip(f"PostgreSQL of Debian: {data} does not exist")
    folder = node.sandbox.folder
    # initdb runs postgres with a shell.
    files = {"/bin/sh": Path("/bin/sh").resolve(), str(data): data}
    # The replicas set the time zone of their sessions to UTC, and Debian's server reads all zones from files.
    files |= {"/usr/share/zoneinfo/UTC": Path("/usr/share/zoneinfo/UTC").resolve()}
    files |= {str(path): path for path in (programs / "initdb", programs / "postgres")}
    modules = programs.with_name("lib").glob("*.so")
    files |= {str(path): path for path in modules if not path.name.startswith("llvmjit")}
    layers = [
        images.program_layer(folder / "postgres.layer", files),
        images.text_layer(
            folder / "passwd.layer", {"/etc/passwd": b"postgres:x:65532:65532::/:/bin/sh\n"}
        ),
    ]
    variables = {"PATH": str(programs)}
    image = images.Image(name=_DATABASE_IMAGE, layers=layers, variables=variables)
    node.import_image(images.write_archive(image, folder / "postgres.tar"))
    text = Path(__file__).with_name("database.yaml").read_text()
    objects = string.Template(text).substitute(image=_DATABASE_IMAGE, password=password)
    node.kubectl("apply", "-f", "-", given=objects)
    node.wait_for("wait", "-n", "database", "--for=condition=Ready", "pod/database")


def create_load_namespace(node: Node) -> None:
    """Create the namespace of the load, with the CA of the service."""
    node.kubectl("create", "namespace", "load")
    node.kubectl("create", "serviceaccount", "web", "-n", "load")
    ca = f"--from-file={node.sandbox.folder / 'authority' / 'ca.crt'}"
    node.kubectl("create", "configmap", "authority-ca", "-n", "load", ca)


@contextlib.contextmanager
def exchange_load(node: Node) -> Iterator[Callable[[], list[Exchange]]]:
    """Exchange tokens in a pod until the context ends; yields a function that returns all requests so far."""
    arguments = [ORIGIN, _TENANT, _API, _REFUSED, *_CLIENTS]
    node.apply(_pod(["python", "-uc", _LOAD.read_text(), *arguments]))
    node.wait_for("wait", "-n", "load", "--for=condition=Ready", "pod/exchanging")

    def exchanged() -> list[Exchange]:
        lines = node.kubectl("logs", "-n", "load", "exchanging").splitlines()
        parts = (line.split(" ", 2) for line in lines)
        return [Exchange(float(at), result, " ".join(more)) for at, result, *more in parts]

    wait_for_issued(exchanged, 100, "the first tokens are issued")
    try:
        yield exchanged
    finally:
        node.kubectl("delete", "pod", "-n", "load", "exchanging", "--wait=true")


def wait_for_issued(exchanged: Callable[[], list[Exchange]], more: int, what: str) -> None:
    """Wait until so many more tokens are issued than now."""

    def issued() -> int:
        return Counter(each.result for each in exchanged())["issued"]

    before = issued()
    wait_until(lambda: issued() >= before + more, SECONDS, what)


def _pod(command: list[str]) -> dict[str, object]:
    token = {"path": "token", "audience": _AUDIENCE, "expirationSeconds": 3600}
    about = {"name": "token", "projected": {"sources": [{"serviceAccountToken": token}]}}
    ca = {"name": "ca", "configMap": {"name": "authority-ca"}}
    app = container(
        command,
        CLIENT_IMAGE,
        env=[
            {"name": "AZURE_FEDERATED_TOKEN_FILE", "value": "/token/token"},
            {"name": "SSL_CERT_FILE", "value": "/ca/ca.crt"},
        ],
        volumeMounts=[{"name": "token", "mountPath": "/token"}, {"name": "ca", "mountPath": "/ca"}],
        securityContext=RESTRICTED,
    )
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "exchanging", "namespace": "load"},
        "spec": {
            "serviceAccountName": "web",
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [app],
            "volumes": [about, ca],
        },
    }
