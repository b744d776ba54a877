"""The conversion of pod identities: which identity, which files, and what each file has."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from podpass.migration.podidentity.cluster import select_identities
from podpass.migration.podidentity.model import BoundIdentity, DetectOptions, Object, Workload
from podpass.migration.podidentity.plan import Plan, build_plan, render_manifest
from podpass.migration.podidentity.workload import pod_template

CLIENT, SECOND = "11111111-aaaa-4bbb-8ccc-000000000001", "11111111-aaaa-4bbb-8ccc-000000000002"
OPTIONS = DetectOptions(namespace="shop", output_dir=Path("out"))
WEB = BoundIdentity(selector="web", client_id=CLIENT)
KINDS = ["Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"]


def identity(name: str, client_id: str, kind: int | None = 0) -> Object:
    spec = {"clientID": client_id} | ({} if kind is None else {"type": kind})
    return {"metadata": {"name": name}, "spec": spec}


def binding(name: str, used: object, selector: object) -> Object:
    return {"metadata": {"name": name}, "spec": {"azureIdentity": used, "selector": selector}}


def body(kind: str = "Deployment", name: str = "web", account: str = "", **spec: Any) -> Object:
    container = {"name": "app", "image": "app:1", "env": [{"name": "A", "value": "1e3"}]}
    pod: Object = {"containers": [container], **spec}
    if account:
        pod |= {"serviceAccountName": account, "serviceAccount": account}
    meta = {
        "name": name,
        "namespace": "shop",
        "uid": "u",
        "resourceVersion": "7",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "managedFields": [{}],
        "generation": 2,
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
    }
    labels = {"labels": {"aadpodidbinding": "web"}}
    template: Object = {"metadata": labels | {"creationTimestamp": None}, "spec": pod}
    if kind == "Pod":
        return {"apiVersion": "v1", "kind": kind, "metadata": meta | labels, "spec": pod}
    workload: Object = {"template": template}
    if kind == "CronJob":
        job = {"metadata": {"creationTimestamp": None}, "spec": workload}
        workload = {"schedule": "* * * * *", "jobTemplate": job}
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": meta,
        "spec": workload,
        "status": {"a": 1},
    }


def plan(*bodies: Object, accounts: dict[str, Object] | None = None, **options: Any) -> Plan:
    chosen = DetectOptions(namespace="shop", output_dir=Path("out"), **options)
    workloads = [Workload(body=each, identity=WEB) for each in bodies]
    return build_plan(workloads, accounts or {}, chosen)


def parsed(made: Plan) -> dict[str, Any]:
    return {each.name: yaml.safe_load(each.text) for each in made.files}


# ------------------------------------------------------------------------------------------- bindings


def test_first_binding_of_a_selector_has_precedence() -> None:
    identities = [identity("one", CLIENT), identity("two", SECOND)]
    bindings = [binding("b", "two", "web"), binding("a", "one", "web"), binding("c", "two", "x")]
    found = select_identities(bindings, identities)
    assert found["web"] == BoundIdentity(selector="web", client_id=CLIENT, others=(SECOND,))
    assert found["x"].client_id == SECOND


@pytest.mark.parametrize(
    ("bindings", "identities"),
    [
        ([binding("a", "one", "")], [identity("one", CLIENT)]),
        ([binding("a", "", "web")], [identity("one", CLIENT)]),
        ([binding("a", "other", "web")], [identity("one", CLIENT)]),
        ([binding("a", "one", "web")], [identity("one", CLIENT, 1)]),
        ([binding("a", "one", "web")], [identity("one", CLIENT, 2)]),
        ([binding("a", "one", {"app": "web"})], [identity("one", CLIENT)]),
        ([binding("a", ["one"], "web")], [identity("one", CLIENT)]),
        ([{"metadata": {"name": "a"}}], [{"metadata": {"name": "one"}}]),
    ],
    ids=(
        *("no-selector", "no-identity", "unknown", "service-principal", "certificate"),
        *("selector-of-another-type", "identity-of-another-type", "no-spec"),
    ),
)
def test_binding_that_cannot_be_converted_is_ignored(
    bindings: list[Object], identities: list[Object]
) -> None:
    assert select_identities(bindings, identities) == {}


def test_identity_without_type_is_a_managed_identity() -> None:
    found = select_identities([binding("a", "one", "web")], [identity("one", CLIENT, None)])
    assert found["web"].client_id == CLIENT


# -------------------------------------------------------------------------------------------- objects


@pytest.mark.parametrize("kind", KINDS)
def test_workload_gets_sidecar_account_and_label(kind: str) -> None:
    before = body(kind)
    original = copy.deepcopy(before)
    files = parsed(plan(before))
    assert sorted(files) == ["web-serviceaccount.yaml", "web.yaml"]
    made = files["web.yaml"]
    template = pod_template(made)
    spec = template["spec"]
    assert [each["name"] for each in spec["containers"]] == ["app", "azwi-proxy"]
    assert [each["name"] for each in spec["initContainers"]] == ["azwi-proxy-init"]
    assert spec["serviceAccountName"] == "web"
    assert template["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    assert spec["containers"][0]["env"] == [{"name": "A", "value": "1e3"}]
    assert "status" not in made
    assert "creationTimestamp" not in str(made)
    assert set(made["metadata"]) <= {"name", "namespace", "labels"}
    assert before == original


def test_injected_containers_equal_those_of_the_reference() -> None:
    spec = pod_template(parsed(plan(body(), proxy_port=8001))["web.yaml"])["spec"]
    assert spec["initContainers"][0] == {
        "name": "azwi-proxy-init",
        "image": "mcr.microsoft.com/oss/azure/workload-identity/proxy-init:v1.6.0",
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "PROXY_PORT", "value": "8001"}],
        "resources": {},
        "securityContext": {
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
            "privileged": True,
            "runAsUser": 0,
        },
    }
    assert spec["containers"][1] == {
        "name": "azwi-proxy",
        "image": "mcr.microsoft.com/oss/azure/workload-identity/proxy:v1.6.0",
        "imagePullPolicy": "IfNotPresent",
        "args": ["--proxy-port=8001", "--log-level=info"],
        "ports": [{"containerPort": 8001}],
        "lifecycle": {
            "postStart": {
                "exec": {"command": ["/proxy", "--proxy-port=8001", "--probe", "--log-level=info"]}
            }
        },
        "resources": {},
    }


def test_sidecar_that_exists_is_not_added_again() -> None:
    repository = "mcr.microsoft.com/oss/azure/workload-identity"
    existing: Any = {
        "containers": [{"name": "p", "image": f"{repository}/proxy:v1.0.0"}],
        "initContainers": [{"name": "i", "image": f"{repository}/proxy-init:v1.0.0"}],
    }
    spec = pod_template(parsed(plan(body(**existing)))["web.yaml"])["spec"]
    assert [each["name"] for each in (*spec["containers"], *spec["initContainers"])] == ["p", "i"]


@pytest.mark.parametrize("account", ["", "default"])
def test_workload_with_the_default_account_gets_a_new_one(account: str) -> None:
    made = parsed(plan(body(account=account), tenant_id="t", token_seconds=7200))
    assert made["web-serviceaccount.yaml"] == {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "annotations": {
                "azure.workload.identity/client-id": CLIENT,
                "azure.workload.identity/service-account-token-expiration": "7200",
                "azure.workload.identity/tenant-id": "t",
            },
        },
    }
    assert "serviceAccount" not in pod_template(made["web.yaml"])["spec"]


def test_existing_service_account_of_a_workload_is_preserved() -> None:
    existing: Any = {
        "metadata": {
            "name": "worker",
            "namespace": "shop",
            "labels": {"team": "a"},
            "annotations": {"x": "y"},
            "uid": "u",
            "resourceVersion": "5",
        },
        "imagePullSecrets": [{"name": "registry"}],
    }
    made = plan(body(account="worker"), accounts={"worker": existing})
    account = parsed(made)["web-serviceaccount.yaml"]
    assert account["imagePullSecrets"] == [{"name": "registry"}]
    assert account["metadata"]["labels"] == {"team": "a"}
    assert account["metadata"]["annotations"]["x"] == "y"
    assert account["metadata"]["annotations"]["azure.workload.identity/client-id"] == CLIENT
    assert not {"uid", "resourceVersion"} & set(account["metadata"])
    assert pod_template(parsed(made)["web.yaml"])["spec"]["serviceAccountName"] == "worker"
    assert made.warnings == []


def test_generated_labels_and_selector_of_a_job_are_removed() -> None:
    job = body("Job")
    generated = {"controller-uid": "u", "batch.kubernetes.io/job-name": "web", "job-name": "web"}
    job["spec"]["selector"] = {"matchLabels": {"controller-uid": "u"}}
    job["spec"]["template"]["metadata"]["labels"] |= generated
    made = parsed(plan(job))["web.yaml"]
    assert "selector" not in made["spec"]
    assert set(made["spec"]["template"]["metadata"]["labels"]) == {
        "aadpodidbinding",
        "azure.workload.identity/use",
    }
    job["spec"]["manualSelector"] = True
    assert parsed(plan(job))["web.yaml"]["spec"]["selector"]


# ------------------------------------------------------------------------------------ names, comments


def test_workloads_of_one_name_get_files_and_accounts_of_their_own() -> None:
    made = parsed(plan(body("Job"), body("Deployment"), body("Pod", "web-serviceaccount")))
    assert list(made) == [
        *("web-serviceaccount.yaml", "web.yaml", "web-job-serviceaccount.yaml", "web-job.yaml"),
        *("web-serviceaccount-pod-serviceaccount.yaml", "web-serviceaccount-pod.yaml"),
    ]
    assert made["web.yaml"]["kind"] == "Deployment"
    assert made["web-job-serviceaccount.yaml"]["metadata"]["name"] == "web-job"
    assert pod_template(made["web-job.yaml"])["spec"]["serviceAccountName"] == "web-job"


def test_order_of_files_does_not_depend_on_the_order_of_objects() -> None:
    bodies = [body(kind, name) for kind in KINDS for name in ("b", "a")]
    assert plan(*bodies) == plan(*reversed(bodies))


def test_name_of_253_characters_fits_a_file_name() -> None:
    files = plan(body(name="a" * 253), body("Job", "a" * 253)).files
    assert len({each.name for each in files}) == 4
    assert max(len(each.name) for each in files) <= 255


def test_shared_account_with_two_identities_is_a_warning() -> None:
    second = BoundIdentity(selector="job", client_id=SECOND)
    workloads = [
        Workload(body=body(account="worker"), identity=WEB),
        Workload(body=body("Job", "nightly", "worker"), identity=second),
    ]
    accounts = {"worker": {"metadata": {"name": "worker"}}}
    made = build_plan(workloads, accounts, OPTIONS)
    assert len(made.warnings) == 2
    assert "Job nightly: Deployment web use the same ServiceAccount worker" in made.warnings[0]
    assert made.files[0].text.startswith("# warning: Deployment web use the same ServiceAccount")


def test_second_identity_of_a_selector_is_a_warning() -> None:
    both = BoundIdentity(selector="web", client_id=CLIENT, others=(SECOND,))
    made = build_plan([Workload(body=body(), identity=both)], {}, OPTIONS)
    assert SECOND in made.warnings[0]


def test_new_account_with_the_name_of_an_existing_one_is_a_warning() -> None:
    existing = {"metadata": {"name": "web", "labels": {"team": "a"}}}
    made = plan(body(), accounts={"web": existing})
    assert "has a ServiceAccount web already" in made.warnings[0]


@pytest.mark.parametrize(
    ("kind", "count"), [("Pod", 1), ("Job", 2), ("CronJob", 1), ("Deployment", 0)]
)
def test_manifest_says_what_must_be_done_by_hand(kind: str, count: int) -> None:
    text = next(each.text for each in plan(body(kind)).files if each.name == "web.yaml")
    assert text.count("# the ") == count
    assert text.count('use: "true" # added: the webhook ignores pods without this label\n') == 1


def test_comment_for_the_label_does_not_change_a_script_with_the_same_line() -> None:
    script = '  azure.workload.identity/use: "true"\n  azure.workload.identity/use: label-mark\n'
    made = body()
    made["spec"]["template"]["spec"]["containers"][0]["args"] = [script, "label-mark"]
    text = plan(made).files[1].text
    loaded = yaml.safe_load(text)
    assert pod_template(loaded)["spec"]["containers"][0]["args"] == [script, "label-mark"]
    assert pod_template(loaded)["metadata"]["labels"]["azure.workload.identity/use"] == "true"


@pytest.mark.parametrize(
    "value",
    [
        *("y", "NO", "on", "null", "1e3", "0x1", "1_0", "012", "1:20", "=", "-", "", " a", "a: b"),
        *("a #b", "é\x07"),
    ],
)
def test_text_that_yaml_may_read_as_another_type_is_quoted(value: str) -> None:
    text = render_manifest({"metadata": {"name": value}}, [])
    assert yaml.safe_load(text) == {"metadata": {"name": value}}
    assert f'name: "{value}"' in text or "\\" in text


def test_line_breaks_in_a_comment_add_no_yaml() -> None:
    text = render_manifest({"kind": "A"}, ["one\nb: 1\u2028c: 1\x85d: 1"])
    assert yaml.safe_load(text) == {"kind": "A"}
