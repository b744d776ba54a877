"""Second passes: the API server calls again after another webhook has changed the pod (`IfNeeded`)."""

from collections.abc import Callable
from typing import Any

import pytest

from podpass import names

Function = Callable[..., Any]
CLIENT = {names.CLIENT_ID: "client"}
OF_APP = names.VOLUME_PREFIX + "a172cedcae47474b615c54d510a5d8"  # sha256("app")
PROXY = {names.INJECT_PROXY: "true"}


def _mount_paths(spec: dict[str, Any]) -> list[list[str]]:
    containers = spec["containers"] + spec.get("initContainers", [])
    return [[m["mountPath"] for m in c.get("volumeMounts", [])] for c in containers]


@pytest.mark.parametrize("annotations", [{}, PROXY, PROXY | {names.SKIP_CONTAINERS: "web"}])
def test_second_pass_changes_nothing(
    mutate_pod: Function,
    mutate_and_apply: Function,
    make_pod: Function,
    annotations: dict[str, str],
) -> None:
    pod = make_pod(annotations, initContainers=[{"name": "setup"}])
    once = mutate_and_apply(pod, mutate_pod(pod, CLIENT))
    assert mutate_pod(once, CLIENT) == []


def test_second_pass_changes_nothing_after_the_api_servers_defaults(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function
) -> None:
    pod = make_pod()
    once = mutate_and_apply(pod, mutate_pod(pod, CLIENT))
    once["spec"]["volumes"][0]["projected"]["defaultMode"] = 420
    assert mutate_pod(once, CLIENT) == []
    once["spec"]["volumes"][0]["projected"]["defaultMode"] = 256
    assert [operation["op"] for operation in mutate_pod(once, CLIENT)] == ["replace"]


@pytest.mark.parametrize("annotations", [{}, PROXY])
def test_pod_named_between_two_passes_keeps_its_volume(
    mutate_pod: Function,
    mutate_and_apply: Function,
    make_pod: Function,
    annotations: dict[str, str],
) -> None:
    """The volume's name depends on the pod's name, and an API server refuses two mounts at one path."""
    pod = make_pod(annotations, name="")
    pod["metadata"]["generateName"] = "app-"
    once = mutate_and_apply(pod, mutate_pod(pod, CLIENT))
    once["metadata"]["name"] = "app-x2v9z"
    assert mutate_pod(once, CLIENT) == []


def test_container_added_between_passes_mounts_the_first_volume(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function
) -> None:
    pod = make_pod(name="")
    once = mutate_and_apply(pod, mutate_pod(pod, CLIENT))
    volume = once["spec"]["volumes"][0]["name"]
    once["metadata"]["name"] = "app"
    once["spec"]["containers"].insert(0, {"name": "mesh"})
    twice = mutate_and_apply(once, mutate_pod(once, CLIENT))
    assert [v["name"] for v in twice["spec"]["volumes"]] == [volume]
    assert _mount_paths(twice["spec"]) == [[names.MOUNT_PATH]] * 2
    assert twice["spec"]["containers"][0]["volumeMounts"][0]["name"] == volume


def test_reused_volume_is_replaced_with_the_desired_one(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function
) -> None:
    """A volume with the reserved prefix in the pod has no effect: the webhook replaces its token."""
    planted = {
        "name": names.VOLUME_PREFIX + "planted",
        "projected": {"sources": [{"serviceAccountToken": {"path": "p", "audience": "evil"}}]},
    }
    pod = make_pod(volumes=[planted])
    (volume,) = mutate_and_apply(pod, mutate_pod(pod, CLIENT))["spec"]["volumes"]
    assert volume["name"] == planted["name"]
    token = volume["projected"]["sources"][0]["serviceAccountToken"]
    assert token["audience"] == names.EXCHANGE_AUDIENCE


@pytest.mark.parametrize("containers", [[{"name": "web"}], []], ids=["a container", "none"])
@pytest.mark.parametrize("annotations", [{}, {names.SKIP_CONTAINERS: "web"}])
def test_pod_with_two_reserved_volumes_named_between_two_passes_is_not_changed_again(
    mutate_pod: Function,
    mutate_and_apply: Function,
    make_pod: Function,
    annotations: dict[str, str],
    containers: list[Any],
) -> None:
    """The first pass sees a name that selects one of the volumes, the second pass one that selects none."""
    volumes = [{"name": names.VOLUME_PREFIX + "0" * 30, "projected": {}}]
    volumes.append({"name": OF_APP, "projected": {}})
    pod = make_pod(annotations, name="app", containers=containers, volumes=volumes)
    once = mutate_and_apply(pod, mutate_pod(pod, CLIENT))
    once["metadata"]["name"] = "named-by-another-webhook"
    assert mutate_pod(once, CLIENT) == []


def test_volume_that_only_a_skipped_container_mounts_is_not_preferred(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function
) -> None:
    first, second = names.VOLUME_PREFIX + "first", names.VOLUME_PREFIX + "second"
    mine = [{"name": second, "mountPath": names.MOUNT_PATH}]
    containers = [{"name": "web"}, {"name": "mine", "volumeMounts": mine}]
    volumes = [{"name": name, "projected": {}} for name in (first, second)]
    pod = make_pod({names.SKIP_CONTAINERS: "mine"}, containers=containers, volumes=volumes)
    once = mutate_and_apply(pod, mutate_pod(pod, CLIENT))
    assert [each["volumeMounts"][0]["name"] for each in once["spec"]["containers"]] == [
        first,
        second,
    ]
    assert mutate_pod(once, CLIENT) == []


def test_mounted_volume_is_preferred_to_another_with_reserved_prefix(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function
) -> None:
    pod = make_pod()
    once = mutate_and_apply(pod, mutate_pod(pod, CLIENT))
    own = once["spec"]["volumes"][0]
    other = {"name": names.VOLUME_PREFIX + "other", "projected": {}}
    once["spec"]["volumes"] = [other, own]
    assert mutate_pod(once, CLIENT) == []


def test_volume_of_another_type_with_reserved_prefix_is_not_reused(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function
) -> None:
    other = {"name": names.VOLUME_PREFIX + "dir", "emptyDir": {}}
    pod = make_pod(volumes=[other])
    volumes = mutate_and_apply(pod, mutate_pod(pod, CLIENT))["spec"]["volumes"]
    assert volumes[0] == other
    assert len(volumes) == 2


def test_changed_tenant_on_second_pass_keeps_the_first_value(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function
) -> None:
    pod = make_pod()
    once = mutate_and_apply(pod, mutate_pod(pod, CLIENT))
    assert mutate_pod(once, {names.CLIENT_ID: "other"}) == []
