"""The comparison of a pod with what admission would create now."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonpatch
import pytest

from podpass import names
from podpass.account.annotations import filter_annotations, parse_identity_config
from podpass.account.model import PodRefused, ServiceAccount, parse_pod
from podpass.admission.mutate import mutate
from podpass.diagnose.drift.comparison import (
    find_drift,
    find_template,
    is_injected,
    without_injection,
)
from podpass.settings import WebhookSettings

_VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "admission.json").read_text())
_TENANT = "33333333-aaaa-4bbb-8ccc-0000000000ff"
_SETTINGS = WebhookSettings(tenant_id=_TENANT, proxy_image="proxy:1", native_sidecar=True)
Object = dict[str, Any]


def _admit(pod: Object, **annotations: str) -> Object:
    """Return the pod as the webhook changes it."""
    about = {names.PREFIX + key.replace("_", "-"): value for key, value in annotations.items()}
    account = ServiceAccount(namespace="n", name="web", annotations=filter_annotations(about))
    parsed = parse_pod(pod, "n")
    config = parse_identity_config(parsed, account, tenant_id=_TENANT)
    operations = mutate(parsed, config, _SETTINGS).operations
    changed: Object = jsonpatch.apply_patch(copy.deepcopy(pod), operations)
    return changed


def _pod(*env: Object, annotations: dict[str, str] | None = None) -> Object:
    container: Object = {"name": "app", "image": "none"}
    container |= {"env": list(env)} if env else {}
    metadata = {"name": "web", "namespace": "n", "annotations": annotations or {}}
    return {"metadata": metadata, "spec": {"containers": [container]}}


def _recorded_pods() -> list[Any]:
    found = {}
    for case in _VECTORS["cases"]:
        pod = case.get("pod") or case.get("input") or {}
        if pod.get("spec"):
            pod = copy.deepcopy(pod)
            pod.setdefault("metadata", {})["namespace"] = "n"
            found[str(case["title"])] = pod
    return [pytest.param(pod, id=title) for title, pod in sorted(found.items())]


@pytest.mark.parametrize("pod", _recorded_pods())
def test_recorded_pod_that_is_admitted_again_has_no_drift(pod: Object) -> None:
    try:
        admitted = _admit(pod, client_id="one")
    except PodRefused:
        return
    template = {"spec": pod["spec"]}
    again = _admit(without_injection(admitted, template), client_id="one")
    assert find_drift(admitted, again) == ()


def test_changed_annotations_are_drift() -> None:
    admitted = _admit(_pod(), client_id="old")
    now = _admit(without_injection(admitted), client_id="new", tenant_id="other")
    found = {each.member: (each.present, each.expected) for each in find_drift(admitted, now)}
    assert found == {names.ENV_CLIENT_ID: ("old", "new"), names.ENV_TENANT_ID: (_TENANT, "other")}


def test_pod_without_injection_differs_from_what_admission_creates() -> None:
    pod = _pod()
    found = find_drift(pod, _admit(pod, client_id="one"))
    assert {each.place for each in found} == {"container app", "volume"}
    assert all(each.present == "" for each in found)


def test_different_pod_name_is_not_drift() -> None:
    first, second = _pod(), _pod()
    second["metadata"]["name"] = "other"
    assert find_drift(_admit(first, client_id="x"), _admit(second, client_id="x")) == ()


def test_sidecar_that_was_added_to_the_annotations_is_drift() -> None:
    admitted = _admit(_pod(), client_id="x")
    annotated = without_injection(admitted)
    annotated["metadata"]["annotations"] = {names.INJECT_PROXY: "true"}
    found = {each.place for each in find_drift(admitted, _admit(annotated, client_id="x"))}
    assert found == {"sidecar"}


def test_client_id_variable_of_the_template_is_not_treated_as_injected() -> None:
    """Without the template, a variable directly before those of the webhook is taken for its own."""
    own = {"name": names.ENV_CLIENT_ID, "value": "mine"}
    pod = _pod(own)
    admitted = _admit(pod, client_id="account")
    controller = {"spec": {"template": {"spec": pod["spec"]}}}
    template = find_template(admitted, controller)
    [container] = without_injection(admitted, template)["spec"]["containers"]
    assert container["env"] == [own]
    [container] = without_injection(admitted)["spec"]["containers"]
    assert container["env"] == []


def test_template_is_read_from_the_last_applied_annotation() -> None:
    applied = {"kind": "Pod", "spec": {"containers": [{"name": "app"}]}}
    key = "kubectl.kubernetes.io/last-applied-configuration"
    pod = _pod(annotations={key: json.dumps(applied)})
    assert find_template(pod, None) == applied
    assert find_template(_pod(annotations={key: "{"}), None) is None
    assert find_template(_pod(annotations={key: "[]"}), None) is None


def test_token_file_variable_of_the_user_is_not_treated_as_injected() -> None:
    own = {"name": names.ENV_TOKEN_FILE, "value": "/own/token"}
    admitted = _admit(_pod(own), client_id="x")
    assert own in without_injection(admitted)["spec"]["containers"][0]["env"]


def test_dry_run_does_not_conflict_with_the_running_pod() -> None:
    pod = _admit(_pod(), client_id="x")
    pod["metadata"] |= {"uid": "u", "resourceVersion": "7", "ownerReferences": [{}]}
    pod["spec"] |= {"nodeName": "node", "priority": 0}
    pod["spec"]["volumes"].append({"name": "kube-api-access-abcde", "projected": {"sources": []}})
    sent = without_injection(pod)
    assert "name" not in sent["metadata"]
    assert not {"uid", "resourceVersion", "ownerReferences"} & set(sent["metadata"])
    assert not {"nodeName", "priority"} & set(sent["spec"])
    assert sent["spec"]["volumes"] == []
    assert not is_injected(sent)
