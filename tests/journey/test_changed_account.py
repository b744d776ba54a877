"""The documentation's notes: changed annotations need new pods, and an identity has 20 credentials."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.journey.instance import CLIENT, SECOND_CLIENT, Instance, started

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

ANNOTATION = "azure.workload.identity/client-id"
SHOW = ["sh", "-c", "echo client=$AZURE_CLIENT_ID; sleep 600"]


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Yield a separate instance: the tests change its accounts and identities."""
    with started(tmp_path_factory.mktemp("changed")) as running:
        yield running


def _wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def _status(instance: Instance) -> tuple[list[Any], str]:
    done = instance.podpass("status", "-o", "json")
    return json.loads(done.stdout)["outdated_pods"], done.stderr


def _events(instance: Instance, pod: str) -> list[str]:
    found = instance.core.list_namespaced_event("default").items
    return [
        each.message
        for each in found
        if each.involved_object.name == pod and each.reason == "ServiceAccountChanged"
    ]


def test_new_annotation_reaches_pods_only_when_they_are_created_again(instance: Instance) -> None:
    instance.create_pod("changed", "web", SHOW)
    instance.wait_for_log("changed", f"client={CLIENT}")
    assert _status(instance) == ([], "")
    instance.account("web", {ANNOTATION: SECOND_CLIENT})
    [pod], warning = _wait_for(lambda: found if (found := _status(instance))[0] else None)
    assert (pod["namespace"], pod["name"], pod["service_account"]) == ("default", "changed", "web")
    assert pod["differs"] == {"AZURE_CLIENT_ID": {"pod": CLIENT, "service_account": SECOND_CLIENT}}
    assert "pod default/changed differs from its ServiceAccount web" in warning
    # Commands that do not ask the instance read its status file.
    status_file = instance.data_dir / "status.json"
    _wait_for(lambda: '"name": "changed"' in status_file.read_text())
    [message] = _wait_for(lambda: _events(instance, "changed"))
    assert CLIENT in message
    assert SECOND_CLIENT in message
    assert instance.pod_log("changed").strip() == f"client={CLIENT}"
    instance.create_pod("again", "web", SHOW)
    instance.wait_for_log("again", f"client={SECOND_CLIENT}")
    assert [each["name"] for each in _status(instance)[0]] == ["changed"]
    instance.core.delete_namespaced_pod("changed", "default", grace_period_seconds=0)
    _wait_for(lambda: _status(instance) == ([], ""))


@pytest.mark.parametrize(("count", "warned"), [(17, False), (18, True), (20, True)])
def test_identity_warns_from_18_of_20_credentials(
    instance: Instance, count: int, warned: bool
) -> None:
    credentials = [
        {
            "name": f"credential-{at}",
            "issuer": "cluster",
            "subject": f"system:serviceaccount:default:c{at}",
        }
        for at in range(count)
    ]
    identity = {"name": f"full-{count}", "federated_credentials": credentials}
    path = instance.data_dir.parent / "full.yaml"
    path.write_text(json.dumps({"identities": [identity]}))
    instance.podpass("apply", "-f", str(path))
    for command in (("list",), ("show", f"full-{count}")):
        done = instance.podpass("identity", *command)
        assert f"{count} of 20" in done.stdout
        text = f"identity full-{count} has {count} of 20 federated credentials"
        assert (text in done.stderr) == warned
