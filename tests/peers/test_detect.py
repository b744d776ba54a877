"""`podpass podidentity detect` next to the reference's `azwi podidentity detect`, on the same objects."""

import copy
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from podpass.lab.cluster.samples.examples import find_example
from tests.journey.instance import CLIENT, SECOND_CLIENT, Instance
from tests.programs import built
from tests.run_program import run_text

pytestmark = [pytest.mark.peers, pytest.mark.timeout(3600)]

USE = "azure.workload.identity/use"
POD = """
      terminationGracePeriodSeconds: 0
      containers: [{name: app, image: busybox, command: [sleep, infinity], env: [{name: A, value: "1e3"}]}]
"""
TEMPLATE = (
    "template:\n    metadata: {labels: {app: NAME, aadpodidbinding: SELECTOR}}\n    spec:" + POD
)


def workload(kind: str, name: str, selector: str, account: str = "", more: str = "") -> str:
    version = "batch/v1" if kind == "Job" else "apps/v1"
    template = TEMPLATE.replace("NAME", name).replace("SELECTOR", selector).rstrip()
    template += f"\n      serviceAccountName: {account}" if account else ""
    return (
        f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n"
        f"  {more or f'selector: {{matchLabels: {{app: {name}}}}}'}\n  {template}\n"
    )


OBJECTS = [
    f"""
apiVersion: aadpodidentity.k8s.io/v1
kind: AzureIdentity
metadata: {{name: first}}
spec: {{type: 0, resourceID: /x, clientID: {CLIENT}}}
""",
    f"""
apiVersion: aadpodidentity.k8s.io/v1
kind: AzureIdentity
metadata: {{name: second}}
spec: {{resourceID: /y, clientID: {SECOND_CLIENT}}}
""",
    """
apiVersion: aadpodidentity.k8s.io/v1
kind: AzureIdentity
metadata: {name: principal}
spec: {type: 1, clientID: not-used}
""",
    *(
        "apiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentityBinding\n"
        f"metadata: {{name: {name}}}\nspec: {{azureIdentity: {used}, selector: {selector}}}\n"
        for name, used, selector in (
            ("a", "first", "one"),
            ("b", "second", "one"),
            ("c", "second", "two"),
            ("d", "principal", "three"),
            ("e", "gone", "four"),
        )
    ),
    "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: worker, annotations: {note: text}}\n",
    workload("Deployment", "shop", "one"),
    workload("Deployment", "cart", "two", "worker"),
    workload("ReplicaSet", "set", "one"),
    workload("Job", "import", "one", "", "backoffLimit: 1").replace(
        "terminationGrace", "restartPolicy: Never\n      terminationGrace"
    ),
    workload("Deployment", "ignored", "three"),
    "apiVersion: v1\nkind: Pod\nmetadata: {name: single, labels: {aadpodidbinding: two}}\nspec:"
    + POD.replace("\n      ", "\n  "),
]
PODS = 6


@dataclass(frozen=True)
class Outputs:
    """The files of both programs, and what the reference printed."""

    ours: dict[str, Any]
    reference: dict[str, Any]
    printed: str


def run(program: list[str], folder: Path, kubeconfig: str) -> tuple[dict[str, Any], str]:
    options = ("-o", str(folder), "-p", "8001", "--tenant-id", "t")
    lifetime = ("--service-account-token-expiration", "90m")
    done = run_text(
        [*program, "podidentity", "detect", *options, *lifetime],
        env={**os.environ, "KUBECONFIG": kubeconfig, "HOME": str(folder.parent)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = {each.name: yaml.safe_load(each.read_text()) for each in sorted(folder.iterdir())}
    return found, done.stderr


@pytest.fixture(scope="module")
def outputs(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    azwi = built("azwi")
    folder = tmp_path_factory.mktemp("detect")
    kubeconfig = instance.status["kubernetes"]["kubeconfig"]

    def kubectl(*words: str, text: str = "") -> str:
        done = run_text(["kubectl", "--kubeconfig", kubeconfig, *words], input=text, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    kubectl("apply", "-f", str(find_example("migrate") / "pod-identity-crds.yaml"))
    kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    kubectl("apply", "-f", "-", text="---\n".join(OBJECTS))
    deadline = time.monotonic() + 120
    while kubectl("get", "pods", "-l", "aadpodidbinding", "-o", "name").count("\n") < PODS:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    reference, printed = run([str(azwi)], folder / "reference", kubeconfig)
    ours, _ = run([sys.executable, "-m", "podpass.cli"], folder / "ours", kubeconfig)
    return Outputs(ours=ours, reference=reference, printed=printed)


def without_empty(value: Any) -> Any:
    """Remove what Go writes for missing fields: null and `{}`."""
    if isinstance(value, dict):
        cleaned = {key: without_empty(each) for key, each in value.items()}
        return {key: each for key, each in cleaned.items() if each not in (None, {})}
    return [without_empty(each) for each in value] if isinstance(value, list) else value


def template_of(body: dict[str, Any]) -> dict[str, Any]:
    return body if body["kind"] == "Pod" else body["spec"]["template"]


def expected(reference: dict[str, Any]) -> dict[str, Any]:
    """Apply the differences of docs/migrate/pod-identity.md to a file of the reference."""
    body: dict[str, Any] = copy.deepcopy(reference)
    body.pop("status", None)
    meta = body["metadata"]
    meta.pop("uid", None)
    for annotation in ("kubectl.kubernetes.io/last-applied-configuration",):
        (meta.get("annotations") or {}).pop(annotation, None)
    meta.pop("managedFields", None)
    meta.pop("creationTimestamp", None)
    if body["kind"] != "ServiceAccount":
        template = template_of(body)
        template["spec"].pop("serviceAccount", None)
        template["metadata"].setdefault("labels", {})[USE] = "true"
        if body["kind"] == "Job":
            body["spec"].pop("selector", None)
            for labels in (template["metadata"]["labels"], meta.get("labels") or {}):
                for name in [*labels]:
                    if name.endswith(("controller-uid", "job-name")):
                        del labels[name]
    cleaned: dict[str, Any] = without_empty(body)
    return cleaned


def test_files_equal_those_of_the_reference_except_for_the_listed_differences(
    outputs: Outputs,
) -> None:
    assert sorted(outputs.ours) == sorted(outputs.reference)
    assert len(outputs.ours) == 10
    for name, made in outputs.ours.items():
        assert without_empty(made) == expected(outputs.reference[name]), name


def test_listed_differences_from_the_reference_still_exist(outputs: Outputs) -> None:
    """Fails if the guide's table lists a difference that no longer exists."""
    workloads = [each for each in outputs.reference.values() if each["kind"] != "ServiceAccount"]
    assert all(USE not in template_of(each)["metadata"].get("labels", {}) for each in workloads)
    assert all("status" in each for each in workloads)
    assert any(each["kind"] == "Job" and "selector" in each["spec"] for each in workloads)
    assert "Next steps:" in outputs.printed
