"""The chart's webhook on a real node: its own test, the restricted standard, its certificate's rotation."""

import base64
import json
import sys
import time
from collections import Counter
from datetime import UTC, datetime

from cryptography import x509

from podpass import names
from podpass.admission.certificates.model import RotationPolicy
from podpass.admission.certificates.secret_codec import decode_secret, encode_secret
from podpass.admission.certificates.x509 import RsaCertificateIssuer
from tests.node.conftest import RELEASE, SYSTEM, webhook_pods
from tests.node.container_facts import read_facts
from tests.node.creators import creating_pods
from tests.node.node import Node
from tests.node.objects import INJECTED, container, create_namespace, pod
from tests.node.sandbox import wait_until

_MEMORY_MIB = 96  # the smallest limit that the chart accepts
_DAY = 24 * 3600
_HOST = f"azure-wi-webhook-webhook-service.{SYSTEM}.svc"
_SECRET = ("secret", "azure-wi-webhook-server-cert", "-n", SYSTEM)
_READ = """
from azure.identity import WorkloadIdentityCredential
from azure.keyvault.secrets import SecretClient
client = SecretClient("https://demo-vault.vault.azure.net/", WorkloadIdentityCredential())
print(client.get_secret("greeting").value)
"""


def test_helm_test_passes(webhook: Node) -> None:
    output = webhook.helm("test", RELEASE, "--namespace", SYSTEM, "--timeout", "600s")
    assert "Phase:          Succeeded" in output
    log = webhook.kubectl("logs", "-n", "default", f"{RELEASE}-test")
    assert log.startswith("mutated: a token of system:serviceaccount:default:default")
    assert webhook.cloud.issuer in log


def test_restricted_pod_reads_a_secret_in_a_restricted_namespace(webhook: Node) -> None:
    create_namespace(webhook, "restricted", enforce="restricted")
    webhook.apply(pod("reader", "restricted", container(["python", "-c", _READ])))
    done = "--for=jsonpath={.status.phase}=Succeeded"
    webhook.wait_for("wait", done, "pod/reader", "-n", "restricted")
    assert webhook.kubectl("logs", "reader", "-n", "restricted") == "hello from the vault\n"


def test_replicas_run_restricted_and_are_ready(webhook: Node) -> None:
    running = webhook_pods(webhook)
    assert len(running) == 2
    for each in running:
        (status,) = each["status"]["containerStatuses"]
        assert (status["ready"], status["restartCount"]) == (True, 0)

        facts = read_facts(webhook, SYSTEM, each["metadata"]["name"])
        assert (facts.user, facts.capabilities) == (65532, 0)
        assert facts.no_new_privileges
        assert facts.has_seccomp
        assert facts.root_is_read_only
        assert facts.memory_mib < _MEMORY_MIB


def test_unlabelled_pod_is_not_changed(webhook: Node) -> None:
    create_namespace(webhook, "unlabelled")
    plain = pod("plain", "unlabelled", container(()), schedulerName="nobody")
    del plain["metadata"]["labels"]
    webhook.apply(plain)
    spec = webhook.get("pod", "plain", "-n", "unlabelled")["spec"]
    assert not INJECTED & {each["name"] for each in spec["containers"][0].get("env", ())}


def test_webhook_renews_its_certificate_and_no_pod_is_refused(webhook: Node) -> None:
    """The Secret gets a leaf of the same CA that expires soon, as the leaf is after most of a year."""
    policy = RotationPolicy(leaf_seconds=30 * _DAY, renew_before_seconds=_DAY)
    issuer = RsaCertificateIssuer(host=_HOST, now=time.time(), policy=policy)
    stored = decode_secret(_secret(webhook), _HOST)
    assert stored.current is not None
    assert stored.leaf is not None
    old = encode_secret(type(stored)(current=stored.current, leaf=issuer.sign_leaf(stored.current)))
    create_namespace(webhook, "rotation")
    with creating_pods(webhook, "rotation") as created:
        data = {key: base64.b64encode(value).decode() for key, value in old.items() if value}
        webhook.kubectl("patch", *_SECRET, "--type=merge", "-p", json.dumps({"data": data}))
        wait_until(lambda: _days_left(webhook) > 300, 120, "the webhook has renewed its leaf")
        new = x509.load_pem_x509_certificate(_secret(webhook)[names.TLS_CERTIFICATE])
        wait_until(lambda: _served(webhook) == [new, new], 120, "both replicas serve the new leaf")
        before = len(created())
        wait_until(lambda: len(created()) > before + 20, 120, "pods are created after the renewal")
    assert Counter(created()) == {"mutated": len(created())}
    assert decode_secret(_secret(webhook), _HOST).cas == stored.cas


def _secret(node: Node) -> dict[str, bytes]:
    data = node.get(*_SECRET)["data"]
    return {key: base64.b64decode(value) for key, value in data.items()}


def _served(node: Node) -> list[x509.Certificate]:
    """Return the leaf that each replica serves."""
    script = "import ssl, sys; print(ssl.get_server_certificate((sys.argv[1], 9443)))"
    return [
        x509.load_pem_x509_certificate(
            node.sandbox.run(
                sys.executable, "-IS", "-c", script, each["status"]["podIP"]
            ).stdout.encode()
        )
        for each in webhook_pods(node)
    ]


def _days_left(node: Node) -> float:
    leaf = x509.load_pem_x509_certificate(_secret(node)[names.TLS_CERTIFICATE])
    return (leaf.not_valid_after_utc - datetime.now(UTC)).total_seconds() / _DAY
