"""What holds for every pod, found out with generated ones."""

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podpass import names
from podpass.account.model import PodRefused

Function = Callable[..., Any]
KEYS = st.text(alphabet="abc~/ \u00e9", min_size=1, max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["web", "setup", "azwi-proxy", "azwi-proxy-init", "", "a b"])
ENV = st.sampled_from(["A", names.ENV_CLIENT_ID, names.ENV_TOKEN_FILE, names.ENV_AUTHORITY_HOST])
VOLUMES = st.sampled_from(
    ["data", names.VOLUME_PREFIX + "a172cedcae47474b615c54d510a5d8", names.VOLUME_PREFIX + "0" * 30]
)


def _optional(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={**members, "x~/new": JSON})


def _lists(entries: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | st.lists(entries, max_size=3)


CONTAINERS = _optional(
    name=NAMES,
    env=_lists(_optional(name=ENV, value=st.text(max_size=2))),
    volumeMounts=_lists(
        _optional(name=VOLUMES, mountPath=st.sampled_from(["/data", names.MOUNT_PATH]))
    ),
)
PODS = _optional(
    metadata=_optional(
        name=st.sampled_from(["", "app", "other"]),
        generateName=st.just("app-"),
        annotations=_optional(
            **{
                names.INJECT_PROXY: st.just("true"),
                names.PROXY_PORT: st.sampled_from(["8000", "0", "x"]),
                names.SKIP_CONTAINERS: st.sampled_from(["web", ";", "azwi-proxy"]),
                names.TOKEN_EXPIRATION: st.sampled_from(["", "3600", "1"]),
            }
        ),
    ),
    spec=_optional(
        containers=_lists(CONTAINERS),
        initContainers=_lists(CONTAINERS),
        volumes=_lists(_optional(name=VOLUMES, projected=st.just({}), emptyDir=st.just({}))),
        hostNetwork=st.booleans(),
    ),
)
ALWAYS = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@ALWAYS
@given(pod=PODS)
def test_a_patch_applies_removes_nothing_and_a_second_one_is_empty(
    mutating: Function, applying: Function, pod: dict[str, Any]
) -> None:
    before = copy.deepcopy(pod)
    try:
        operations = mutating(pod, {names.CLIENT_ID: "client"})
    except PodRefused:
        return
    assert pod == before
    assert {operation["op"] for operation in operations} <= {"add", "replace"}
    after = applying(pod, operations)
    assert mutating(after, {names.CLIENT_ID: "client"}) == []


@ALWAYS
@given(pod=PODS)
def test_what_is_not_ours_is_the_same_afterwards(
    mutating: Function, applying: Function, pod: dict[str, Any]
) -> None:
    try:
        after = applying(pod, mutating(pod, {}))
    except PodRefused:
        return
    assert _theirs(after) == _theirs(pod)


def _theirs(pod: dict[str, Any]) -> dict[str, Any]:
    """Take from a pod all that the webhook may own."""
    pod = copy.deepcopy(pod)
    spec = pod["spec"]
    ours = {names.PROXY_CONTAINER, names.PROXY_INIT_CONTAINER}
    spec["volumes"] = _without(spec.get("volumes"), names.VOLUME_PREFIX)
    for group in ("containers", "initContainers"):
        spec[group] = [c for c in spec.get(group) or [] if c.get("name") not in ours]
        for container in spec[group]:
            container["env"] = _without(container.get("env"), "AZURE_")
            container["volumeMounts"] = _without(container.get("volumeMounts"), names.VOLUME_PREFIX)
    return pod


def _without(entries: list[dict[str, Any]] | None, prefix: str) -> list[dict[str, Any]]:
    return [entry for entry in entries or [] if not entry.get("name", "").startswith(prefix)]
