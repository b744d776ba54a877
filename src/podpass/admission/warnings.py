"""Warn about probable mistakes in a pod or its ServiceAccount; the pod is created in any case.

Pure. Warnings change neither decision nor patch. On a second pass their texts are the same, because the API
server shows equal warnings once; the pod's name may change in between, so no text contains it. Meaning and
resolution of each: `docs/operate/admission.md`.
"""

import heapq
import re
from collections.abc import Mapping
from typing import Any

from podpass import names
from podpass.account.annotations import ACCOUNT_ANNOTATIONS, POD_ANNOTATIONS, PREFIXES
from podpass.account.model import ENV, Pod, PodIdentityConfig, ServiceAccount, quote
from podpass.admission.mutate import PodMutation
from podpass.guids import is_guid

MAX_WARNINGS = 5
TEXTS = {
    "client_id_missing": "{account} has no annotation {key}, so AZURE_CLIENT_ID is not set",
    "client_id_malformed": "{account}: {key} = {value} is not a GUID, but a client ID is a GUID",
    "tenant_malformed": "{account}: {key} = {value} is neither a GUID nor a domain",
    "tenant_empty": "{account}: {key} is empty, so AZURE_TENANT_ID is not set",
    "skips_nothing": "{key}: no container is named {value}; names are separated by ';'",
    "unknown_annotation": "annotation {key} is unknown{hint}",
    "unknown_label": "label {key} is unknown{hint}",
    "account_annotation_unknown": "{account}: annotation {key} is unknown{hint}",
    "belongs_on_account": "annotation {key} works only on the ServiceAccount, not on the pod",
    "belongs_on_pod": "{account}: annotation {key} works only on the pod, not here",
    "label_as_annotation": "{key} is a label of the pod; as an annotation it has no effect",
    "annotation_as_label": "{key} is an annotation; as a label it has no effect",
    "endpoint_not_served": "annotation {key} has no effect: this webhook has no such token endpoint",
    "virtual_node": "the pod may run on a virtual node ({key}), where no token is projected",
    "proxy_by_presence": "{key} = {value} still injects the sidecar: remove the annotation to avoid it",
    "proxy_cannot_start": "the pod's runAsUser 0 prevents azwi-proxy from starting; set it on containers",
    "proxy_redirected": "the pod's runAsUser {value} makes azwi-proxy call itself; set it on containers",
    "not_redirected": "{key} has runAsUser 1501, like azwi-proxy: its IMDS calls bypass the sidecar",
    "mode_without_proxy": "annotation {key} has no effect without the annotation inject-proxy-sidecar",
    "endpoint_set": "container {value}: {key} is set, so its SDK does not find azwi-proxy",
    "authority_set": "container {value} sets AZURE_AUTHORITY_HOST, so its exchange does not go to {key}",
    "legacy_path_taken": "container {value} mounts its own volume at {key}, so no token is there",
    "secret_first": "container {value}: {key} is tried by DefaultAzureCredential before the token",
    "label_missing": '{account} has a client ID, but the pod lacks the label {key}: "true"',
    "label_not_true": '{account} has a client ID, but label {key} = {value} is not "true"',
    "more": "{value} more warnings are not shown",
}
"""The text of each warning by its code; with ordinary names a text has up to 120 characters."""

_DOMAIN = re.compile(
    r"(?=.{4,253}$)(?:[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z]{2,63}"
)
_VIRTUAL_TAINTS = frozenset({"virtual-kubelet.io/provider", "azure.com/aci"})
_VIRTUAL_NODES = ("virtual-kubelet", "virtual-node-")
_LABELS = frozenset({names.USE_LABEL})
_PROXY_UID = 1501
_MAX_CHARS = 40  # maximum length of a value in a warning
_MAX_KEY = 80  # the name part of a key has up to 63
_MAX_ACCOUNT = 340  # a namespace has up to 63, a name up to 253


PendingWarning = tuple[str, dict[str, object]]
"""A warning before it is rendered: the code of its text, and the values to insert."""


def list_warnings(
    pod: Pod,
    account: ServiceAccount,
    config: PodIdentityConfig,
    mutation: PodMutation,
    custom_endpoint: str | None,
) -> list[str]:
    """Return the warnings about a labelled pod; most pods have none.

    As for `find_warnings`.
    """
    found = find_warnings(pod, account, config, mutation, custom_endpoint)
    return _render_first(found) if found else []


def find_warnings(
    pod: Pod,
    account: ServiceAccount,
    config: PodIdentityConfig,
    mutation: PodMutation,
    custom_endpoint: str | None,
) -> list[PendingWarning]:
    """Return the probable mistakes of a labelled pod and its ServiceAccount, not rendered.

    `mutation` is the result of `mutate`, which has validated the pod's lists; `custom_endpoint` is the
    annotation that requests the custom token endpoint, None if the webhook serves none.
    """
    found: list[PendingWarning] = []
    _check_account(pod, account, config, found)
    for key in pod.annotations:
        if key.startswith(PREFIXES) and key not in POD_ANNOTATIONS and key != custom_endpoint:
            found += [(_classify_annotation(key), {"key": key})]
    for key in pod.labels:
        if key.startswith(PREFIXES) and key not in _LABELS:
            known = key in POD_ANNOTATIONS or key in ACCOUNT_ANNOTATIONS
            found += [("annotation_as_label" if known else "unknown_label", {"key": key})]
    if config.skip_containers:
        _check_skipped_names(pod, config, found)
    if config.proxy_port is not None:
        _check_proxy(pod, config, found)
    elif names.PROXY_MODE in pod.annotations:
        found.append(("mode_without_proxy", {"key": names.PROXY_MODE}))
    found += [(which, {"key": key, "value": name}) for which, name, key in mutation.conflicts]
    if where := _find_virtual_node(pod.spec):
        found.append(("virtual_node", {"key": where}))
    for container, variable in mutation.secrets:
        found += [("secret_first", {"key": variable, "value": container})]
    return found


def list_label_warnings(pod: Pod, account: ServiceAccount) -> list[str]:
    """Return a warning for a pod without the label that probably needs it.

    Such a pod has the label as an annotation, or its ServiceAccount has a client ID.
    """
    found = find_label_warnings(pod, account)
    return _render_first(found) if found else []


def find_label_warnings(pod: Pod, account: ServiceAccount) -> list[PendingWarning]:
    """Return the probable mistake of a pod without the label, as `list_label_warnings`, not rendered."""
    value = pod.labels.get(names.USE_LABEL)
    if value == "true":
        return []
    if value is None and names.USE_LABEL in pod.annotations:
        return [("label_as_annotation", {"key": names.USE_LABEL})]
    if not account.annotations.get(names.CLIENT_ID):
        return []
    which = "label_missing" if value is None else "label_not_true"
    return [(which, {"account": account, "key": names.USE_LABEL, "value": value})]


def _render_first(found: list[PendingWarning]) -> list[str]:
    """Render the first warnings only: a pod with a thousand mistakes must not delay other requests."""
    few = found if len(found) <= MAX_WARNINGS else found[: MAX_WARNINGS - 1]
    texts = [render(*each) for each in few]
    if len(few) < len(found):
        texts.append(TEXTS["more"].format(value=len(found) - len(few)))
    return texts


def render(which: str, facts: Mapping[str, object]) -> str:
    """Return the text of a warning."""
    shown = {
        name: quote(fact, _MAX_CHARS) if name == "value" else fact for name, fact in facts.items()
    }
    if "account" in facts:
        shown["account"] = _to_printable(str(facts["account"]), _MAX_ACCOUNT)
    if "key" in facts:
        shown["key"] = _to_printable(str(facts["key"]), _MAX_KEY)
        if "{hint}" in TEXTS[which]:
            shown["hint"] = _suggest_key(str(facts["key"])[:_MAX_KEY], which)
    return TEXTS[which].format(**shown)


def _to_printable(name: str, max_chars: int) -> str:
    # Names of a pod are not validated yet, and the API server drops a warning that contains a line break.
    return name if name.isprintable() and len(name) <= max_chars else quote(name, max_chars)


def _suggest_key(key: str, which: str) -> str:
    """Suggest the most similar known key."""
    import difflib  # needed only here

    known = {"unknown_label": _LABELS, "unknown_annotation": POD_ANNOTATIONS}.get(
        which, ACCOUNT_ANNOTATIONS
    )
    # Suggest the part after the prefix; for a key of podpass, suggest the whole key.
    by_name = {each.removeprefix(names.PREFIX).rpartition("/")[2]: each for each in sorted(known)}
    near = difflib.get_close_matches(key.rpartition("/")[2].lower(), by_name, 1, 0.7)
    return f"; did you mean {by_name[near[0]].removeprefix(names.PREFIX)}?" if near else ""


def _classify_annotation(key: str) -> str:
    if key in ACCOUNT_ANNOTATIONS:
        return "belongs_on_account"
    if key in _LABELS:
        return "label_as_annotation"
    ends = key.startswith(names.USE_CUSTOM_ENDPOINT_PREFIX)
    return "endpoint_not_served" if ends else "unknown_annotation"


def is_tenant(text: str) -> bool:
    """Return whether a text can be a tenant ID or a domain of a tenant; `common` is neither."""
    return is_guid(text) or _DOMAIN.fullmatch(text) is not None


def _check_account(
    pod: Pod, account: ServiceAccount, config: PodIdentityConfig, found: list[PendingWarning]
) -> None:
    about = account.annotations
    client, tenant = about.get(names.CLIENT_ID), about.get(names.TENANT_ID)
    if not client:
        if not _all_set_client_id(pod, config):
            found.append(("client_id_missing", {"account": account, "key": names.CLIENT_ID}))
    elif not is_guid(client):
        facts = {"account": account, "key": names.CLIENT_ID, "value": client}
        found.append(("client_id_malformed", facts))
    if tenant is not None and not is_tenant(tenant):
        facts = {"account": account, "key": names.TENANT_ID, "value": tenant}
        found.append(("tenant_malformed" if tenant else "tenant_empty", facts))
    for key in about:
        if key not in ACCOUNT_ANNOTATIONS:
            known = key in POD_ANNOTATIONS
            which = "belongs_on_pod" if known else "account_annotation_unknown"
            found.append((which, {"account": account, "key": key}))


def _all_set_client_id(pod: Pod, config: PodIdentityConfig) -> bool:
    """Return whether every container sets its client ID itself, as pods with several identities do."""
    return all(
        any(each.get("name") == names.ENV_CLIENT_ID for each in container.get("env") or ())
        for container in _list_containers_with_token(pod, config)
        if container.get("name") not in (names.PROXY_CONTAINER, names.PROXY_INIT_CONTAINER)
    )


def _list_containers(pod: Pod) -> list[Mapping[str, Any]]:
    spec = pod.spec
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]


def _list_containers_with_token(pod: Pod, config: PodIdentityConfig) -> list[Mapping[str, Any]]:
    """Return the containers that get the token; only these were validated."""
    skipped = config.skip_containers
    return [each for each in _list_containers(pod) if each.get("name", "") not in skipped]


def _check_skipped_names(pod: Pod, config: PodIdentityConfig, found: list[PendingWarning]) -> None:
    there = {each.get("name") for each in _list_containers(pod)}
    there |= {"", names.PROXY_CONTAINER, names.PROXY_INIT_CONTAINER}
    # Sorted, because the order of a set differs in each process; limited to the number that can be shown.
    for name in heapq.nsmallest(MAX_WARNINGS, config.skip_containers - there):
        found += [("skips_nothing", {"key": names.SKIP_CONTAINERS, "value": name})]


def _check_proxy(pod: Pod, config: PodIdentityConfig, found: list[PendingWarning]) -> None:
    """Find settings that prevent the sidecar from serving the pod, or that have no effect."""
    value = pod.annotations[names.INJECT_PROXY]
    if not isinstance(value, str) or value.lower() != "true":
        found.append(("proxy_by_presence", {"key": names.INJECT_PROXY, "value": value}))
    user = _run_as_user(pod.spec)
    if config.proxy_mode == ENV:
        if user == 0:
            found.append(("proxy_cannot_start", {}))
        return
    if user == _PROXY_UID:
        found.append(("not_redirected", {"key": "the pod"}))
    elif user is not None:
        which = "proxy_redirected" if user else "proxy_cannot_start"
        found.append((which, {"value": user}))
    for container in _list_containers(pod):
        name = container.get("name", "")
        if name != names.PROXY_CONTAINER and _run_as_user(container) == _PROXY_UID:
            found.append(("not_redirected", {"key": f"container {name}"}))


def _run_as_user(holder: Mapping[str, Any]) -> object:
    context = holder.get("securityContext")
    return context.get("runAsUser") if isinstance(context, dict) else None


def _find_virtual_node(spec: Mapping[str, Any]) -> str:
    """Return the field that may schedule the pod to a virtual node, or an empty text.

    Examples also use the node label `kubernetes.io/role: agent`, but ordinary nodes have it too.
    """
    node = spec.get("nodeName")
    if isinstance(node, str) and node.startswith(_VIRTUAL_NODES):
        return "nodeName"
    selector = spec.get("nodeSelector")
    if isinstance(selector, dict) and selector.get("type") == "virtual-kubelet":
        return "nodeSelector type"
    tolerations = spec.get("tolerations")
    if isinstance(tolerations, list):
        for each in tolerations:
            key = each.get("key") if isinstance(each, dict) else None
            if isinstance(key, str) and key in _VIRTUAL_TAINTS:
                return f"toleration {key}"
    return ""
