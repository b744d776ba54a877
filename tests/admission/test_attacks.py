"""Group 27, what the other files of this stage leave: pods made to lead a patch astray."""

from collections.abc import Callable
from typing import Any

import pytest

from podpass import names

Function = Callable[..., Any]
OTHER = {names.CLIENT_ID: "33333333-3333-4333-8333-333333333333", names.TENANT_ID: "other"}
STEPS = {
    "spec",
    "containers",
    "initContainers",
    "volumes",
    "env",
    "volumeMounts",
    "-",
    "restartPolicy",
}


@pytest.mark.parametrize(
    "name", ["a~1b", "a~0b", "~", "/", "a/b", "../0", "0/env", "spec/volumes/0", "a\0b", "~01", ""]
)
def test_names_with_signs_of_a_json_pointer_move_no_operation(
    make_pod: Function, mutating: Function, applying: Function, name: str
) -> None:
    """Fails if a name became part of a path: operations go by position, and by nothing the user wrote."""
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
    operations = mutating(pod, {names.CLIENT_ID: "client"})
    for operation in operations:
        parts = operation["path"].split("/")[1:]
        assert all(part in STEPS or part.isdigit() for part in parts), operation["path"]
    changed = applying(pod, operations)
    assert [each["name"] for each in changed["spec"]["containers"]] == [name, "b"]
    assert changed["spec"]["containers"][0][name] == [{"name": name}]
    assert changed["spec"]["volumes"][0] == {"name": name, "emptyDir": {}}
    assert changed["metadata"] == pod["metadata"]


def test_an_account_of_another_tenant_gets_what_it_says_and_the_exchange_decides(
    make_pod: Function, mutating: Function, applying: Function
) -> None:
    """A client id is a name and no right: the pod's own subject is what a credential must trust."""
    pod = make_pod()
    changed = applying(pod, mutating(pod, OTHER))
    env = {each["name"]: each.get("value") for each in changed["spec"]["containers"][0]["env"]}
    assert (env["AZURE_CLIENT_ID"], env["AZURE_TENANT_ID"]) == (OTHER[names.CLIENT_ID], "other")
    [volume] = changed["spec"]["volumes"]
    [source] = volume["projected"]["sources"]
    assert set(source["serviceAccountToken"]) == {"audience", "expirationSeconds", "path"}


def test_a_pod_that_asks_for_another_client_by_its_own_annotation_is_not_heard(
    make_pod: Function, mutating: Function
) -> None:
    """Whoever may create pods but not change accounts chooses no identity."""
    mine = {names.CLIENT_ID: "client"}
    assert mutating(make_pod(OTHER), mine) == mutating(make_pod(), mine)
