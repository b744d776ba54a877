"""The token at its path before azure-workload-identity 1.6.0."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from podpass import names
from podpass.settings import WebhookSettings

Function = Callable[..., Any]
LEGACY = {names.LEGACY_TOKEN_PATH: "true"}
OLD_PATH = "/var/run/secrets/azure/tokens"


def _paths(container: Any) -> list[str]:
    return [mount["mountPath"] for mount in container.get("volumeMounts", [])]


def test_token_is_at_both_paths_from_one_volume(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function
) -> None:
    pod = make_pod(LEGACY | {names.INJECT_PROXY: "true"})
    changed = mutate_and_apply(pod, mutate_pod(pod))
    spec = changed["spec"]
    (volume,) = spec["volumes"]
    new, old = (source["serviceAccountToken"] for source in volume["projected"]["sources"])
    assert (new["path"], old["path"]) == ("token/azure-identity-token", "azure-identity-token")
    assert {**new, "path": ""} == {**old, "path": ""}
    for container in (*spec["initContainers"], *spec["containers"]):
        assert _paths(container) == [names.MOUNT_PATH, OLD_PATH]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"]}
        assert all(mount["readOnly"] for mount in container["volumeMounts"])
    assert mutate_pod(changed) == []


@pytest.mark.parametrize("first", ["old", "new"])
def test_second_pass_keeps_the_mounts_in_any_order(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function, first: str
) -> None:
    pod = make_pod(LEGACY)
    changed = mutate_and_apply(pod, mutate_pod(pod))
    if first == "old":
        changed["spec"]["containers"][0]["volumeMounts"].reverse()
    assert mutate_pod(changed) == []


def test_the_setting_applies_to_pods_without_the_annotation(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function, settings: WebhookSettings
) -> None:
    legacy = dataclasses.replace(settings, legacy_token_path=True)
    for annotations, wanted in (({}, True), ({names.LEGACY_TOKEN_PATH: "false"}, False)):
        pod = make_pod(annotations)
        (container,) = mutate_and_apply(pod, mutate_pod(pod, {}, legacy))["spec"]["containers"]
        assert (OLD_PATH in _paths(container)) is wanted
    pod = make_pod()
    assert OLD_PATH not in _paths(mutate_and_apply(pod, mutate_pod(pod))["spec"]["containers"][0])


def test_user_volume_mounted_at_the_legacy_path_is_unchanged(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function
) -> None:
    own = {"name": "links", "mountPath": OLD_PATH}
    pod = make_pod(LEGACY, containers=[{"name": "web", "volumeMounts": [own]}])
    (container,) = mutate_and_apply(pod, mutate_pod(pod))["spec"]["containers"]
    assert container["volumeMounts"][0] == own
    assert _paths(container) == [OLD_PATH, names.MOUNT_PATH]
