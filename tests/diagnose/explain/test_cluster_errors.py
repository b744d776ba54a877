"""Refusals, warnings and events as kubectl shows them today are recognized.

`PODPASS_RECORD_ERRORS=yes` writes them to tests/vectors/cluster_errors.json, which the fast tests read.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from podpass.diagnose.explain.recognition import recognize
from podpass.names import CLIENT_ID, INJECT_PROXY, MOUNT_PATH, USE_LABEL
from tests.lab.instance.instances import CLIENT, SEED, Podpass

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

VECTORS = Path(__file__).parents[2] / "vectors" / "cluster_errors.json"
LIFETIME = "azure.workload.identity/service-account-token-expiration"
WEBHOOK = "azure-wi-webhook-mutating-webhook-configuration"
OBJECT = re.compile(r"0x[0-9a-f]{6,}")


def pod(account: str = "web", label: str | None = "true", **changes: Any) -> dict[str, Any]:
    labels = {} if label is None else {USE_LABEL: label}
    meta = {"name": "broken", "labels": labels, "annotations": changes.pop("annotations", {})}
    container = {"name": "c", "image": "none", **changes.pop("container", {})}
    spec = {"serviceAccountName": account, "containers": [container], **changes}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def deployment(template: dict[str, Any]) -> dict[str, Any]:
    labels = {**template["metadata"]["labels"], "app": "broken"}
    meta = {"labels": labels, "annotations": template["metadata"]["annotations"]}
    spec = {
        "selector": {"matchLabels": {"app": "broken"}},
        "template": {"metadata": meta, "spec": template["spec"]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "broken"},
        "spec": spec,
    }


MOUNT = {"volumeMounts": [{"name": "v", "mountPath": MOUNT_PATH}]}
BAD_LIFETIME = pod(annotations={LIFETIME: "9"})
REFUSED = {
    "bad-annotation": (BAD_LIFETIME, "webhook_bad_annotation"),
    "no-account": (pod("missing"), "webhook_account_not_found"),
    "mount-path": (
        pod(container=MOUNT, volumes=[{"name": "v", "emptyDir": {}}]),
        "webhook_mount_path_taken",
    ),
    "host-network": (
        pod(annotations={INJECT_PROXY: "true"}, hostNetwork=True),
        "webhook_proxy_on_host_network",
    ),
    "no-label": (pod(label=None), "admission_label_missing"),
    "label-true": (pod(label="True"), "admission_label_not_true"),
    "no-client-id": (pod("plain"), "admission_client_id_missing"),
    "name-as-client-id": (pod("named"), "admission_client_id_malformed"),
}
EVENTS = {
    "controller-bad-annotation": (BAD_LIFETIME, "FailedCreate", "webhook_bad_annotation"),
    "controller-no-account": (pod("missing"), "FailedCreate", "webhook_account_not_found"),
}


@pytest.fixture(scope="module")
def cluster(make_podpass: Callable[[], Podpass]) -> Podpass:
    instance = make_podpass()
    seed = instance.data_dir.parent / "seed.yaml"
    seed.write_text(SEED)
    instance.up("--seed", str(seed))
    for name, value in (("web", CLIENT), ("plain", ""), ("named", "my-identity")):
        kubectl(instance, "create", "serviceaccount", name)
        if value:
            kubectl(instance, "annotate", "serviceaccount", name, f"{CLIENT_ID}={value}")
    return instance


@pytest.fixture(scope="module")
def recorded() -> Iterator[list[dict[str, Any]]]:
    found: list[dict[str, Any]] = []
    yield found
    if os.environ.get("PODPASS_RECORD_ERRORS"):
        source = (
            "recorded by tests/diagnose/explain/test_cluster_errors.py from kubectl on an instance"
        )
        text = json.dumps({"source": source, "errors": found}, indent=1, ensure_ascii=False)
        VECTORS.write_text(text + "\n")


def kubectl(instance: Podpass, *arguments: str, **how: Any) -> str:
    done = instance("run", "-q", "--", "kubectl", *arguments, **how)
    return OBJECT.sub("0x0", done.stderr + done.stdout)


def check(recorded: list[dict[str, Any]], failure: str, text: str, expected: str) -> None:
    recorded.append({"failure": failure, "expected": [expected], "text": text})
    assert expected in [each.sentence.id for each in recognize(text).findings], text


@pytest.mark.parametrize("failure", REFUSED)
def test_refusal_or_warning_of_kubectl_is_recognized(
    cluster: Podpass, recorded: list[dict[str, Any]], failure: str
) -> None:
    broken, expected = REFUSED[failure]
    text = kubectl(cluster, "create", "-f", "-", input=json.dumps(broken))
    kubectl(cluster, "delete", "pod", "broken", "--ignore-not-found", "--now")
    check(recorded, failure, text, expected)


@pytest.mark.parametrize("failure", EVENTS)
def test_event_of_a_controller_is_recognized(
    cluster: Podpass, recorded: list[dict[str, Any]], failure: str
) -> None:
    broken, reason, expected = EVENTS[failure]
    kubectl(cluster, "create", "-f", "-", input=json.dumps(deployment(broken)))
    text = wait_for_event(cluster, reason)
    kubectl(cluster, "delete", "deployment", "broken")
    kubectl(cluster, "delete", "events", "--all")
    check(recorded, failure, text, expected)


def test_unreachable_webhook_is_recognized(
    cluster: Podpass, recorded: list[dict[str, Any]]
) -> None:
    path = "/webhooks/0/clientConfig/url"
    patch = [{"op": "replace", "path": path, "value": "https://127.0.0.1:9/mutate-v1-pod"}]
    kubectl(
        *(cluster, "patch", "mutatingwebhookconfiguration", WEBHOOK, "--type=json"),
        *("-p", json.dumps(patch)),
    )
    text = kubectl(cluster, "create", "-f", "-", input=json.dumps(pod()))
    check(recorded, "webhook-unreachable", text, "webhook_unreachable")


def wait_for_event(cluster: Podpass, reason: str) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        text = kubectl(
            cluster, "get", "events", f"--field-selector=reason={reason}", "--no-headers"
        )
        if reason in text:
            return text
    raise AssertionError(f"no event {reason}")
