"""The complete chart on a local instance, whose pods are processes: the real service, seeded and upgraded."""

import contextlib
import json
import secrets
import select
import socket
import socketserver
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from podpass.http.server import PortInUse, bind
from tests.charts.authority.rendering import CHART, NAME, NAMESPACE, TENANT, AuthorityChart
from tests.charts.rendering import Values
from tests.lab.instance.instances import Podpass
from tests.lab.instance.kubectl import Kubectl, binaries
from tests.run_program import run_text
from tests.servers.authority.running import Authority

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.skipif(
        Path(sys.executable).is_relative_to("/tmp"),
        reason="the chart's pods have their own /tmp, and the replicas' Python is in the host's",
    ),
]

# The ports at which this machine reaches those of the chart's pod.
_PORTS = {"service": "https://localhost:8443", "health": "http://localhost:8095"}
_WAIT = ("--wait", "--timeout", "100s")


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[Kubectl]:
    binary = next((path for path in binaries().values() if path), "")
    if not binary:
        pytest.skip("there is no kubectl on this machine")
    for port in (8443, 8095):
        try:
            bind("127.0.0.1", port).close()
        except PortInUse:
            pytest.skip(f"port {port} is in use")
    instance = Podpass(tmp_path / "data")
    status = instance.up()
    made = Kubectl(
        binary=binary, kubeconfig=Path(status["kubernetes"]["kubeconfig"]), home=tmp_path
    )
    try:
        with contextlib.ExitStack() as stack:
            for port in (8443, 8444, 8095):
                stack.enter_context(_relay(made, port))
            yield made
    finally:
        instance("down")


@contextlib.contextmanager
def _relay(kubectl: Kubectl, port: int) -> Iterator[None]:
    """Relay connections on a port of this machine to the pod of the chart that is ready now."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((_address(kubectl), port), timeout=30) as pod:
                both = (self.request, pod)
                while ready := select.select(both, (), (), 30)[0]:
                    for each in ready:
                        data = each.recv(65536)
                        if not data:
                            return
                        (pod if each is self.request else self.request).sendall(data)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address, daemon_threads = True, True

        def handle_error(self, *_: object) -> None:
            """Ignore a connection that a pod has refused: the client tries again."""

    with Server(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


def _address(kubectl: Kubectl) -> str:
    label = f"app.kubernetes.io/name={NAME}"
    found = json.loads(kubectl("-n", NAMESPACE, "get", "pods", "-l", label, "-o", "json"))["items"]
    for pod in found:
        conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", ())}
        if conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]:
            return str(pod["status"]["podIP"])
    raise ConnectionRefusedError("no pod is ready")


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """Yield a folder outside /tmp, which bubblewrap replaces in each pod of the chart."""
    cache = Path.home() / ".cache" / "podpass"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        yield Path(folder)


@pytest.fixture
def authority(kubectl: Kubectl, shared_folder: Path, tmp_path: Path) -> Authority:
    """Create the Secrets that the notes name, and return a client of the service."""
    made = Authority(folder=shared_folder, ca=trustme.CA(), facts=dict(_PORTS))
    made.write_certificate()
    (tmp_path / "sealing.key").write_bytes(secrets.token_bytes(32))
    kubectl("create", "namespace", NAMESPACE)
    create = ("-n", NAMESPACE, "create", "secret")
    key, pair = tmp_path / "sealing.key", (shared_folder / "tls.crt", shared_folder / "tls.key")
    kubectl(*create, "generic", f"{NAME}-sealing", f"--from-file={key}")
    kubectl(*create, "generic", f"{NAME}-database", f"--from-literal=url={made.database}")
    kubectl(*create, "tls", f"{NAME}-tls", f"--cert={pair[0]}", f"--key={pair[1]}")
    return made


def _mount(folder: Path) -> Values:
    """Mount the folder of the database: the containers of the chart have a read-only root."""
    return {
        "extraVolumes": [{"name": "data", "hostPath": {"path": str(folder)}}],
        "extraVolumeMounts": [{"name": "data", "mountPath": str(folder)}],
    }


def _values(**more: Any) -> Values:
    credential = {
        "name": "web",
        "issuer": "cluster",
        "subject": "system:serviceaccount:default:web",
        "audiences": ["api://my-authority"],
    }
    return {
        "image": {"repository": "podpass"},
        "origin": _PORTS["service"],
        "tenantID": TENANT,
        "replicaCount": 1,
        "workers": 1,
        "shutdownDelaySeconds": 0,
        "runAsUser": None,  # CAs of the test
        "seed": {
            "identities": [{"name": "web", "federated_credentials": [credential]}],
            "resources": [{"name": "ledger", "uris": ["https://ledger.example.com"]}],
            "clusterIssuer": "https://issuer.example.com/",
        },
        **more,
    }


def test_installed_authority_is_seeded_upgraded_and_uninstalled(
    chart: AuthorityChart, kubectl: Kubectl, authority: Authority
) -> None:
    def helm(*arguments: str, values: Values | None = None) -> str:
        done = run_text(
            [chart.binary, *arguments, "--namespace", NAMESPACE, *_WAIT],
            input=json.dumps(values and {**values, **_mount(authority.folder)}),
            env=kubectl.environ,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def seeded() -> str:
        return kubectl("-n", NAMESPACE, "logs", f"job/{NAME}-seed")

    def pods() -> set[str]:
        found = kubectl(
            "-n", NAMESPACE, "get", "pods", "-l", f"app.kubernetes.io/name={NAME}", "-o", "name"
        )
        return set(found.split())

    notes = helm("install", NAME, str(CHART), "--values", "-", values=_values())
    assert f"tokens of tenant {TENANT}, at https://localhost:8443." in notes
    assert "federated credential web/web created" in seeded()
    assert "identity ledger created" in seeded()
    document = authority.get(f"/{TENANT}/v2.0/.well-known/openid-configuration", "service").body
    assert document["token_endpoint"] == f"https://localhost:8443/{TENANT}/oauth2/v2.0/token"
    assert len(authority.get("/readyz").body["workers"]) == 1
    first = pods()

    values = _values(workers=2, admin={"enabled": True})
    helm("upgrade", NAME, str(CHART), "--values", "-", values=values)
    authority.until(lambda: len(pods()) == 1)
    assert not pods() & first
    assert len(authority.get("/readyz").body["workers"]) == 2
    assert "created" not in seeded()
    authority.facts["admin"] = "https://localhost:8444"
    assert authority.get("/v1.0/applications", "admin").status == 401

    helm("uninstall", NAME)
    authority.until(lambda: not pods())
    left = kubectl(
        "-n", NAMESPACE, "get", "deployment,service,networkpolicy,poddisruptionbudget", "-o", "name"
    )
    assert not left.split()
    kept = kubectl("-n", NAMESPACE, "get", "secret", "-o", "name")
    assert f"secret/{NAME}-sealing" in kept.split()
