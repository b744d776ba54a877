"""The pod of `helm test` on an instance: it passes only if it was mutated."""

import copy
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podpass import names
from tests.charts.rendering import Helm, Object, find
from tests.lab.instance.instances import Podpass
from tests.lab.instance.kubectl import Kubectl, binaries

pytestmark = pytest.mark.kubernetes
_TIMEOUT_SECONDS = 60.0


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    binary = next((path for path in binaries().values() if path), "")
    if not binary:
        pytest.skip("there is no kubectl on this machine")
    place = tmp_path_factory.mktemp("instance")
    instance = Podpass(place / "data")
    status = instance.up()
    try:
        yield Kubectl(
            binary=binary, kubeconfig=Path(status["kubernetes"]["kubeconfig"]), home=place
        )
    finally:
        instance("down")


def _outcome(kubectl: Kubectl, pod: Object) -> tuple[str, str]:
    name = pod["metadata"]["name"]
    kubectl("apply", "-f", "-", given=json.dumps(pod))
    ends = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < ends:
        phase: str = json.loads(kubectl("get", "pod", name, "-o", "json"))["status"]["phase"]
        if phase in ("Succeeded", "Failed"):
            return phase, kubectl("logs", name)
        time.sleep(0.2)
    raise AssertionError(f"{name} is still {phase}")


def _pod(helm: Helm, name: str, **values: Any) -> Object:
    pod = copy.deepcopy(find(helm.render(values), "Pod"))
    pod["metadata"]["name"] = name
    # It runs with the instance's interpreter instead of the image's, as any user, because the test may run as
    # root.
    assert pod["spec"]["containers"][0]["command"][0] == "python"
    pod["spec"]["containers"][0]["command"][0] = sys.executable
    return pod


def test_release_test_pod_is_a_hook_outside_the_exempted_namespaces(helm: Helm) -> None:
    pod = find(helm.render(), "Pod")
    assert pod["metadata"]["namespace"] == "default"
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["metadata"]["labels"][names.USE_LABEL] == "true"
    for values in ({"helmTest": {"namespace": "kube-system"}}, {"exemptNamespaces": ["default"]}):
        assert "Pod" not in [one["kind"] for one in helm.render(values)]


def test_release_test_pod_passes_if_it_was_mutated(helm: Helm, kubectl: Kubectl) -> None:
    phase, log = _outcome(kubectl, _pod(helm, "mutated"))
    assert phase == "Succeeded", log
    assert "mutated: a token of system:serviceaccount:default:default for api://Azure" in log


def test_release_test_pod_fails_if_it_was_not_mutated(helm: Helm, kubectl: Kubectl) -> None:
    pod = _pod(helm, "left-alone")
    del pod["metadata"]["labels"][names.USE_LABEL]
    phase, log = _outcome(kubectl, pod)
    assert phase == "Failed"
    assert "this pod was not mutated: AZURE_TENANT_ID, AZURE_AUTHORITY_HOST" in log


def test_release_test_pod_fails_if_the_token_has_another_audience(
    helm: Helm, kubectl: Kubectl
) -> None:
    pod = _pod(helm, "elsewhere", audience="api://AzureADTokenExchangeUSGov")
    phase, log = _outcome(kubectl, pod)
    assert phase == "Failed"
    assert "not for api://AzureADTokenExchangeUSGov" in log
