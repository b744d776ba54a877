"""An operator with controller-runtime: status, finalizer, leader election, rotated certificates."""

import base64
import json
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.kubeling_peers.command import Command, eventually
from tests.ports import free_port
from tests.programs import built

_HOST = "127.0.0.1"
_SCHEMA = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def version(name: str, *, storage: bool = True) -> dict[str, Any]:
    return {
        "name": name,
        "served": True,
        "storage": storage,
        "schema": {"openAPIV3Schema": _SCHEMA},
        "subresources": {"status": {}},
    }


def definition(*versions: dict[str, Any], **spec: Any) -> str:
    names = {"plural": "pages", "singular": "page", "kind": "Page"}
    about = {"group": "example.test", "scope": "Namespaced", "names": names}
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "pages.example.test"},
        "spec": {**about, "versions": versions, **spec},
    }
    return json.dumps(body)


def page(name: str, text: str) -> str:
    body = {"apiVersion": "example.test/v1", "kind": "Page", "metadata": {"name": name}}
    return json.dumps({**body, "spec": {"text": text}})


def webhook(port: int, *trusted: trustme.CA) -> str:
    bundle = b"".join(ca.cert_pem.bytes() for ca in trusted)
    rule = {
        "apiGroups": ["example.test"],
        "apiVersions": ["v1"],
        "resources": ["pages"],
        "operations": ["CREATE", "UPDATE"],
    }
    entry = {
        "name": "pages.example.test",
        "clientConfig": {
            "url": f"https://{_HOST}:{port}/validate",
            "caBundle": base64.b64encode(bundle).decode(),
        },
        "rules": [rule],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "pages"},
        "webhooks": [entry],
    }
    return json.dumps(body)


def write_certificate(folder: Path, ca: trustme.CA) -> None:
    """Write a certificate for the webhook; the operator never reads half of a file."""
    leaf = ca.issue_cert(_HOST)
    for name, content in (
        ("tls.key", leaf.private_key_pem.bytes()),
        ("tls.crt", leaf.cert_chain_pems[0].bytes()),
    ):
        part = folder / "part"
        part.write_bytes(content)
        part.rename(folder / name)


def is_open(port: int) -> bool:
    try:
        socket.create_connection((_HOST, port), 10).close()
    except OSError:
        return False
    return True


def serves(port: int, ca: trustme.CA) -> bool:
    """Return whether the certificate of a port is one of a CA."""
    context = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    try:
        with socket.create_connection((_HOST, port), 10) as sock:
            context.wrap_socket(sock, server_hostname=_HOST).close()
    except OSError:
        return False
    return True


@pytest.fixture
def kubectl(command: Callable[..., Command]) -> Command:
    return command("kubectl")


@pytest.fixture
def operator(command: Callable[..., Command]) -> Command:
    return command(built("example-operator"))


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    folder = tmp_path / "certificates"
    folder.mkdir()
    return folder


@pytest.fixture
def ca(certificates: Path, kubectl: Command) -> trustme.CA:
    """Return the CA of the first certificate; the kind exists."""
    kubectl("create", "-f", "-", given=definition(version("v1")))
    kubectl("wait", "crd/pages.example.test", "--for=condition=Established", "--timeout=60s")
    made = trustme.CA()
    write_certificate(certificates, made)
    return made


@pytest.mark.usefixtures("ca")
def test_operator_reconciles_with_status_and_finalizer(
    operator: Command, kubectl: Command, certificates: Path, tmp_path: Path
) -> None:
    def read(kind: str, name: str, path: str) -> str:
        query = ("--ignore-not-found", "-o", f"jsonpath={{{path}}}")
        return kubectl("get", kind, name, *query).out

    with operator.running(tmp_path / "log", certificates, free_port()):
        kubectl("create", "-f", "-", given=page("home", "one"))
        eventually(
            lambda: read("page", "home", ".status") == '{"observedGeneration":1,"text":"one"}'
        )
        assert read("configmap", "home", ".data.text") == "one"
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=page("home", "two"))
        eventually(
            lambda: read("page", "home", ".status") == '{"observedGeneration":2,"text":"two"}'
        )
        assert read("configmap", "home", ".data.text") == "two"
        kubectl("delete", "configmap", "home")  # the operator watches what it owns
        eventually(lambda: read("configmap", "home", ".data.text") == "two")
        uid = read("page", "home", ".metadata.uid")
        kubectl("delete", "page", "home", "--timeout=60s")
        assert read("configmap", "released", ".data.home") == uid
        eventually(lambda: not read("configmap", "home", ".metadata.uid"))


@pytest.mark.usefixtures("ca")
def test_another_replica_leads_after_the_first_is_killed(
    operator: Command, kubectl: Command, certificates: Path, tmp_path: Path
) -> None:
    def published(name: str) -> str:
        query = ("get", "configmap", name, "--ignore-not-found", "-o", "jsonpath={.data.text}")
        return kubectl(*query).out

    with ExitStack() as ending:
        one = operator.running(tmp_path / "one.log", certificates, free_port())
        first = ending.enter_context(one)
        eventually(lambda: first() == ["leading"])
        with operator.running(tmp_path / "two.log", certificates, port := free_port()) as second:
            # Its webhook is ready before it is the leader.
            eventually(lambda: is_open(port))
            kubectl("create", "-f", "-", given=page("before", "one"))
            eventually(lambda: published("before") == "one")
            assert second() == []
            ending.close()
            kubectl("create", "-f", "-", given=page("after", "two"))
            eventually(lambda: published("after") == "two")
            assert second() == ["leading"]


def test_webhook_is_called_with_rotated_certificates(
    operator: Command, kubectl: Command, certificates: Path, ca: trustme.CA, tmp_path: Path
) -> None:
    """Fails if a call needs the old CA after the rotation, or if any CA is trusted."""
    port, new = free_port(), trustme.CA()

    def create(text: str, *, code: int = 0) -> str:
        made = kubectl("create", "--dry-run=server", "-f", "-", given=page("p", text), code=code)
        return made.err

    with operator.running(tmp_path / "log", certificates, port):
        eventually(lambda: serves(port, ca))
        kubectl("create", "-f", "-", given=webhook(port, ca))
        create("text")
        assert "a page has a text" in create("", code=1)
        kubectl("replace", "-f", "-", given=webhook(port, ca, new))
        write_certificate(certificates, new)

        def is_rotated() -> bool:
            create("text")  # no call fails in the meantime
            return serves(port, new)

        eventually(is_rotated)
        kubectl("replace", "-f", "-", given=webhook(port, new))
        create("text")
        assert "a page has a text" in create("", code=1)
        kubectl("replace", "-f", "-", given=webhook(port, trustme.CA()))
        assert "certificate" in create("text", code=1)


def test_conversion_by_a_webhook_is_refused_with_a_warning(kubectl: Command) -> None:
    """The server never calls a conversion webhook, and says so when the kind is created."""
    config = {"url": f"https://{_HOST}:{free_port()}/convert"}
    called = {"clientConfig": config, "conversionReviewVersions": ["v1"]}
    conversion = {"strategy": "Webhook", "webhook": called}
    versions = version("v1"), version("v2", storage=False)
    made = kubectl("create", "-f", "-", given=definition(*versions, conversion=conversion))
    assert "this cluster does not call conversion webhooks" in made.err
    kubectl("wait", "crd/pages.example.test", "--for=condition=Established", "--timeout=60s")
    kubectl("create", "-f", "-", given=page("home", "one"))
    query = ("get", "pages.v2.example.test", "home", "-o", "jsonpath={.apiVersion} {.spec.text}")
    assert kubectl(*query).out == "example.test/v2 one"
