"""Properties of every pod and account, checked with thousands of generated ones; each run generates the same.

Each patch is applied twice: by the strict function of these tests, and by an independent library.
"""

import copy
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jsonpatch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from podpass import names
from podpass.account.annotations import filter_annotations, parse_identity_config
from podpass.account.model import PodRefused, ServiceAccount, parse_pod
from podpass.admission.mutate import mutate
from podpass.admission.warnings import MAX_WARNINGS, list_warnings
from podpass.settings import WebhookSettings
from tests.suite_policy import examples

Function = Callable[..., Any]
CUSTOM = names.USE_CUSTOM_ENDPOINT_PREFIX + "identity-binding"
KEYS = st.text(alphabet="abc~/ \u00e9", min_size=1, max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["web", "setup", "azwi-proxy", "azwi-proxy-init", "", "a b"])
ENV = st.sampled_from(
    [
        *("A", names.ENV_CLIENT_SECRET, names.ENV_CLIENT_ID, names.ENV_TOKEN_FILE),
        *(names.ENV_AUTHORITY_HOST, names.ENV_MSI_ENDPOINT),
    ]
)
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
        _optional(
            name=VOLUMES,
            mountPath=st.sampled_from(["/data", names.MOUNT_PATH, names.LEGACY_MOUNT_PATH]),
        )
    ),
)
SPECS = _optional(
    containers=_lists(CONTAINERS),
    initContainers=_lists(CONTAINERS),
    volumes=_lists(_optional(name=VOLUMES, projected=st.just({}), emptyDir=st.just({}))),
    hostNetwork=st.sampled_from([False, False, False, True]),
    securityContext=_optional(runAsUser=st.sampled_from([0, 1000, 1501])),
    tolerations=_lists(_optional(key=st.sampled_from(["azure.com/aci", "a", None]))),
    nodeSelector=_optional(type=st.sampled_from(["virtual-kubelet", "spot"])),
)
METADATA = _optional(
    name=st.sampled_from(["", "app", "other"]),
    namespace=st.just("default"),
    labels=_optional(**{names.USE_LABEL: st.just("true"), names.PREFIX + "x": st.text()}),
    generateName=st.just("app-"),
    annotations=_optional(
        **{
            names.INJECT_PROXY: st.just("true"),
            names.PROXY_PORT: st.sampled_from(["8000", "65535", "0"]),
            names.SKIP_CONTAINERS: st.sampled_from(["web", ";", "azwi-proxy"]),
            names.TOKEN_EXPIRATION: st.sampled_from(["", "3600", "86400", "3599"]),
            names.PROXY_MODE: st.sampled_from(["env", "env", "iptables", "x"]),
            names.LEGACY_TOKEN_PATH: st.sampled_from(["true", "true", "false", "x"]),
            CUSTOM: st.sampled_from(["true", "TRUE", "false", ""]),
            names.PREFIX + "unknown": st.text(max_size=3),
        }
    ),
)
OTHERS: dict[str, st.SearchStrategy[Any]] = {"metadata": METADATA, "x~/new": JSON}
PODS = st.fixed_dictionaries({"spec": SPECS}, optional=OTHERS)
ACCOUNTS = _optional(
    **{
        names.CLIENT_ID: st.sampled_from(["", "client", "00000000-0000-4000-8000-000000000001"]),
        names.TENANT_ID: st.sampled_from(["", "common", "contoso.com"]),
        names.TOKEN_EXPIRATION: st.sampled_from(["", "7200", "abc"]),
        names.PREFIX + "client": st.text(max_size=3),
    }
)
PLAIN = WebhookSettings(tenant_id="tenant", proxy_image="proxy:test")
BINDING = replace(
    PLAIN,
    custom_suffix="identity-binding",
    custom_audience="api://AKSIdentityBinding",
    token_proxy="https://proxy.example",
    sni_name="sni.example",
    ca_signer="example.com/signer",
    ca_selector={"matchLabels": {"a": "b"}},
)
WEBHOOKS = st.sampled_from(
    [
        PLAIN,
        replace(PLAIN, native_sidecar=False, proxy_on_pod_address=True),
        replace(PLAIN, proxy_mode="env", proxy_init_privileged=False, legacy_token_path=True),
        BINDING,
        replace(BINDING, native_sidecar=False, ca_signer="", ca_selector=None, ca_configmap="ca"),
    ]
)
ALWAYS = settings(
    max_examples=examples(300),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
OWNED = re.compile(
    r"/spec/(?:(?:initContainers|containers)(?:/(?:-|0|\d+/(?:env|volumeMounts)(?:/(?:-|\d+))?))?"
    r"|volumes(?:/(?:-|\d+))?)"
)


def _serialize(document: Any) -> str:
    """Serialize JSON in the order of members, to compare bytes."""
    return json.dumps(document, ensure_ascii=True)


@ALWAYS
@given(pod=PODS, account=ACCOUNTS, webhook=WEBHOOKS)
def test_patch_of_any_pod_has_every_property(
    mutate_pod: Function, mutate_and_apply: Function, pod: Any, account: Any, webhook: Any
) -> None:
    """All properties are checked on the same pods: generating them takes longer than the checks."""
    before = _serialize(pod)
    try:
        operations = mutate_pod(pod, account, webhook)
    except PodRefused as exc:
        event(exc.code)
        return
    event("patched")
    assert _serialize(pod) == before
    after = mutate_and_apply(pod, operations)
    _check_patch(pod, operations, after)
    _check_foreign_parts(pod, operations, after)
    assert mutate_pod(after, account, webhook) == []
    _check_warnings(mutate_and_apply, pod, account, webhook)
    _check_named_pod(mutate_pod, after, account, webhook)


def _check_patch(pod: Any, operations: list[Any], after: Any) -> None:
    """Assert that a patch removes nothing, and that an independent library applies it equally."""
    assert {operation["op"] for operation in operations} <= {"add", "replace"}
    assert _serialize(jsonpatch.apply_patch(pod, operations)) == _serialize(after)


def _check_foreign_parts(pod: Any, operations: list[Any], after: Any) -> None:
    """Assert that parts without reserved names keep bytes and order, with additions at the end."""
    assert not [each["path"] for each in operations if not OWNED.fullmatch(each["path"])]
    assert _serialize(_drop_own_parts(after)) == _serialize(_drop_own_parts(pod))
    assert list(after)[: len(pod)] == list(pod)
    assert list(after["spec"])[: len(pod["spec"])] == list(pod["spec"])


def _check_named_pod(mutate_pod: Function, after: Any, account: Any, webhook: Any) -> None:
    """Assert that a pod which was named and defaulted between two passes is not changed again.

    The volume's name depends on the pod's name, and an API server refuses two mounts at one path.
    """
    after = copy.deepcopy(after)
    after.setdefault("metadata", {})["name"] = "given-by-another-webhook"
    for volume in after["spec"]["volumes"]:
        if volume.get("name", "").startswith(names.VOLUME_PREFIX) and volume.get("projected"):
            volume["projected"]["defaultMode"] = 420
    assert mutate_pod(after, account, webhook) == []


def _check_warnings(
    mutate_and_apply: Function, pod: Any, account: Any, webhook: WebhookSettings
) -> None:
    """Assert that warnings are few, short and the same on a second pass."""
    known = ServiceAccount(namespace="default", name="web", annotations=filter_annotations(account))
    custom = webhook.custom_endpoint_annotation

    def run_once(raw: Any) -> tuple[list[str], Any]:
        read = parse_pod(raw, "default")
        config = parse_identity_config(
            read, known, tenant_id="t", custom_endpoint_annotation=custom
        )
        change = mutate(read, config, webhook)
        return list_warnings(read, known, config, change, custom), mutate_and_apply(
            raw, change.operations
        )

    try:
        messages, after = run_once(pod)
    except PodRefused:
        return
    event(f"{len(messages)} warnings")
    assert len(messages) <= MAX_WARNINGS
    assert all(each.isprintable() and len(each) <= 200 for each in messages)
    assert run_once(after)[0] == messages


def _drop_own_parts(pod: dict[str, Any]) -> dict[str, Any]:
    """Remove from a pod all parts that the webhook may own, and then all empty lists."""
    pod = copy.deepcopy(pod)
    spec = pod["spec"]
    _drop_prefixed(spec, "volumes", names.VOLUME_PREFIX)
    for group in ("containers", "initContainers"):
        _drop_prefixed(spec, group, names.PROXY_CONTAINER)
        for container in spec.get(group) or []:
            for prefix in ("AZURE_", "MSI_", "IDENTITY_", "PODPASS_"):
                _drop_prefixed(container, "env", prefix)
            _drop_prefixed(container, "volumeMounts", names.VOLUME_PREFIX)
    return pod


def _drop_prefixed(holder: dict[str, Any], name: str, prefix: str) -> None:
    kept = [one for one in holder.get(name) or [] if not (one.get("name") or "").startswith(prefix)]
    if kept:
        holder[name] = kept
    else:
        holder.pop(name, None)
