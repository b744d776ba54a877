"""Attack group 27: pods that try to redirect a patch; other test files of this stage have the other cases."""

from collections.abc import Callable
from typing import Any

import pytest

from podpass import names

Function = Callable[..., Any]
OTHER = {names.CLIENT_ID: "33333333-3333-4333-8333-333333333333", names.TENANT_ID: "other"}
STEPS = {
    *("spec", "containers", "initContainers", "volumes", "env", "volumeMounts"),
    *("-", "restartPolicy"),
}


@pytest.mark.parametrize(
    "name", ["a~1b", "a~0b", "~", "/", "a/b", "../0", "0/env", "spec/volumes/0", "a\0b", "~01", ""]
)
def test_json_pointer_characters_in_names_change_no_path(
    make_pod: Function, mutate_pod: Function, mutate_and_apply: Function, name: str
) -> None:
    """Fails if a name becomes part of a path: operations use indices, never text of the user."""
    pod = make_pod(
        {f"{name}/x": name},
        name=name,
        containers=[
            {"name": name, "image": "i", name: [{"name": name}]},
            {"name": "b", "image": "i"},
        ],
        initContainers=[
            {"name": f"{name}2", "image": "i", "volumeMounts": [{"name": name, "mountPath": name}]}
        ],
        volumes=[{"name": name, "emptyDir": {}}],
    )
    operations = mutate_pod(pod, {names.CLIENT_ID: "client"})
    for operation in operations:
        parts = operation["path"].split("/")[1:]
        assert all(part in STEPS or part.isdigit() for part in parts), operation["path"]
    changed = mutate_and_apply(pod, operations)
    assert [each["name"] for each in changed["spec"]["containers"]] == [name, "b"]
    assert changed["spec"]["containers"][0][name] == [{"name": name}]
    assert changed["spec"]["volumes"][0] == {"name": name, "emptyDir": {}}
    assert changed["metadata"] == pod["metadata"]


def test_account_of_another_tenant_is_injected_unchanged(
    make_pod: Function, mutate_pod: Function, mutate_and_apply: Function
) -> None:
    """A client ID grants nothing: a federated credential must trust the pod's subject."""
    pod = make_pod()
    changed = mutate_and_apply(pod, mutate_pod(pod, OTHER))
    env = {each["name"]: each.get("value") for each in changed["spec"]["containers"][0]["env"]}
    assert (env["AZURE_CLIENT_ID"], env["AZURE_TENANT_ID"]) == (OTHER[names.CLIENT_ID], "other")
    [volume] = changed["spec"]["volumes"]
    [source] = volume["projected"]["sources"]
    assert set(source["serviceAccountToken"]) == {"audience", "expirationSeconds", "path"}


def test_client_id_annotation_of_a_pod_is_ignored(make_pod: Function, mutate_pod: Function) -> None:
    """A user who may create pods but not change ServiceAccounts cannot choose an identity."""
    mine = {names.CLIENT_ID: "client"}
    assert mutate_pod(make_pod(OTHER), mine) == mutate_pod(make_pod(), mine)
