"""What admission did to a pod, as the real webhook changes it."""

from typing import Any

import pytest

from podpass import names
from podpass.console.pod_view import describe

LABELS = {names.USE_LABEL: "true"}


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "n", "name": "p", "labels": LABELS}, "spec": spec}


def test_mutated_pod_shows_variables_token_and_sidecar() -> None:
    env = [
        {"name": "OWN", "value": "1"},
        {"name": names.ENV_CLIENT_ID, "value": "client"},
        {"name": names.ENV_TOKEN_FILE, "value": "/token"},
    ]
    token = {"serviceAccountToken": {"audience": "aud", "expirationSeconds": 3600}}
    found = describe(
        pod(
            serviceAccountName="web",
            containers=[{"name": "a"}, {"name": "b", "env": env}, {"name": names.PROXY_CONTAINER}],
            volumes=[{"name": f"{names.VOLUME_PREFIX}1", "projected": {"sources": [token]}}],
        )
    )
    assert (found.verdict, found.account, found.phase) == ("mutated", "web", "Pending")
    assert found.variables == ((names.ENV_CLIENT_ID, "client"), (names.ENV_TOKEN_FILE, "/token"))
    assert found.token == (("audience", "aud"), ("expirationSeconds", "3600"))
    assert found.sidecars == (names.PROXY_CONTAINER,)


def test_labelled_pod_without_injection_has_the_verdict_missed() -> None:
    assert describe(pod(containers=[{"name": "a"}])).verdict == "missed"


def test_pod_without_the_label_is_unlabelled() -> None:
    assert describe({"metadata": {}, "spec": {}}).verdict == "unlabelled"
    assert describe({}).account == "default"


@pytest.mark.parametrize(
    ("status", "phase", "is_failing"),
    [
        ({"phase": "Running"}, "Running", False),
        ({"phase": "Failed"}, "Failed", True),
        ({"phase": "Succeeded"}, "Succeeded", False),
        ({"phase": "Pending", "waiting": "ContainerCreating"}, "ContainerCreating", False),
        ({"phase": "Running", "waiting": "CrashLoopBackOff"}, "CrashLoopBackOff", True),
        ({"phase": "Failed", "terminated": 1}, "Error", True),
    ],
)
def test_pod_that_fails_is_shown_with_its_reason(
    status: dict[str, Any], phase: str, is_failing: bool
) -> None:
    state: dict[str, Any] = {"running": {}}
    if "waiting" in status:
        state = {"waiting": {"reason": status["waiting"]}}
    elif "terminated" in status:
        state = {"terminated": {"exitCode": status["terminated"], "reason": "Error"}}
    given = {"phase": status["phase"], "containerStatuses": [{"state": state}]}
    found = describe(pod() | {"status": given})
    assert (found.phase, found.is_failing) == (phase, is_failing)


def test_given_differences_are_in_the_description_of_a_pod() -> None:
    assert describe(pod(), ["a: x"]).differs == ("a: x",)
