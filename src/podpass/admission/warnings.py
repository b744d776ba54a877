"""What whoever applies a pod is told although it may be created: what they wrote and probably did not mean.

Pure. Warnings change no verdict and no patch. They say the same on a second pass, for an API server shows
equal ones once; so none names the pod, which its sender knows. Meaning and cure: `docs/guides/admission.md`.
"""

import heapq
import re
from collections.abc import Mapping
from typing import Any

from podpass import names
from podpass.account.annotations import ON_ACCOUNT, ON_POD
from podpass.account.model import Account, Pod, Wish, quoted
from podpass.admission.mutate import Change
from podpass.guids import is_guid

MAX_WARNINGS = 5
TEXTS = {
    "client_id_missing": "{account} has no annotation {key}, so AZURE_CLIENT_ID is not set",
    "client_id_malformed": "{account}: {key} = {value} is not a GUID, as client ids are",
    "tenant_malformed": "{account}: {key} = {value} is neither a GUID nor a domain",
    "tenant_empty": "{account}: {key} is empty, so AZURE_TENANT_ID is not set",
    "skips_nothing": "{key}: no container is named {value}; names are separated by ';'",
    "unknown_annotation": "annotation {key} is unknown{hint}",
    "unknown_label": "label {key} is unknown{hint}",
    "account_annotation_unknown": "{account}: annotation {key} is unknown{hint}",
    "belongs_on_account": "annotation {key} counts on the ServiceAccount, not on the pod",
    "belongs_on_pod": "{account}: annotation {key} counts on the pod, not here",
    "label_as_annotation": "{key} is a label of the pod; as an annotation it does nothing",
    "annotation_as_label": "{key} is an annotation; as a label it does nothing",
    "endpoint_not_served": "annotation {key} does nothing: this webhook knows no such token endpoint",
    "virtual_node": "the pod may run on a virtual node ({key}), where no token is projected",
    "proxy_by_presence": "{key} = {value} injects the sidecar all the same: take the annotation away",
    "proxy_cannot_start": "the pod's runAsUser 0 keeps azwi-proxy from starting; set it on containers",
    "proxy_redirected": "the pod's runAsUser {value} makes azwi-proxy call itself; set it on containers",
    "not_redirected": "{key} has runAsUser 1501, azwi-proxy's own: its IMDS calls pass the sidecar by",
    "secret_first": "container {value}: {key} is tried by DefaultAzureCredential before the token",
    "label_missing": '{account} has a client id, but the pod lacks the label {key}: "true"',
    "label_not_true": '{account} has a client id, but label {key} = {value} is not "true"',
    "more": "{value} more warnings are not shown",
}
"""Each warning, by what it is about; with everyday names it has up to 120 signs."""

_DOMAIN = re.compile(
    r"(?=.{4,253}$)(?:[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z]{2,63}"
)
_VIRTUAL_TAINTS = frozenset({"virtual-kubelet.io/provider", "azure.com/aci"})
_VIRTUAL_NODES = ("virtual-kubelet", "virtual-node-")
_LABELS = frozenset({names.USE_LABEL})
_PROXY_UID = 1501
_MOST = 40  # signs of a value that are shown
_MAX_KEY = 80  # a key's longest name has 63
_MAX_ACCOUNT = 340  # a namespace has up to 63, a name up to 253


Said = tuple[str, dict[str, object]]
"""A warning not yet written: which text, and what goes into it."""


def warn(
    pod: Pod, account: Account, wish: Wish, change: Change, custom_endpoint: str | None
) -> list[str]:
    """List what to tell about a labelled pod; empty for almost all.

    Shapes:  `change` is what `mutate` made of it, after which its lists are what they should be;
             `custom_endpoint` is the annotation by which pods ask for it, None where there is none.
    """
    found: list[Said] = []
    _look_at_account(pod, account, wish, found)
    for key in pod.annotations:
        if key.startswith(names.PREFIX) and key not in ON_POD and key != custom_endpoint:
            found += [(_stray_annotation(key), {"key": key})]
    for key in pod.labels:
        if key.startswith(names.PREFIX) and key not in _LABELS:
            known = key in ON_POD or key in ON_ACCOUNT
            found += [("annotation_as_label" if known else "unknown_label", {"key": key})]
    if wish.skip_containers:
        _look_at_names(pod, wish, found)
    if wish.proxy_port is not None:
        _look_at_proxy(pod, found)
    if where := _virtual_node(pod.spec):
        found.append(("virtual_node", {"key": where}))
    for container, variable in change.secrets:
        found += [("secret_first", {"key": variable, "value": container})]
    return _written(found) if found else []


def advise(pod: Pod, account: Account) -> list[str]:
    """Tell about a pod without the label, whose account is meant for pods that have it."""
    value = pod.labels.get(names.USE_LABEL)
    if value == "true" or not account.annotations.get(names.CLIENT_ID):
        return []
    which = "label_missing" if value is None else "label_not_true"
    return _written([(which, {"account": account, "key": names.USE_LABEL, "value": value})])


def _written(found: list[Said]) -> list[str]:
    """Write the first few: a pod with a thousand faults must not cost the next one its turn."""
    few = found if len(found) <= MAX_WARNINGS else found[: MAX_WARNINGS - 1]
    said = [_write(*each) for each in few]
    if len(few) < len(found):
        said.append(TEXTS["more"].format(value=len(found) - len(few)))
    return said


def _write(which: str, facts: Mapping[str, object]) -> str:
    shown = {name: quoted(fact, _MOST) if name == "value" else fact for name, fact in facts.items()}
    if "account" in facts:
        shown["account"] = _printable(str(facts["account"]), _MAX_ACCOUNT)
    if "key" in facts:
        shown["key"] = _printable(str(facts["key"]), _MAX_KEY)
        if "{hint}" in TEXTS[which]:
            shown["hint"] = _hint(str(facts["key"])[:_MAX_KEY], which)
    return TEXTS[which].format(**shown)


def _printable(name: str, most: int) -> str:
    # Nobody has checked a pod's names yet, and a warning with a line break in it is thrown away.
    return name if name.isprintable() and len(name) <= most else quoted(name, most)


def _hint(key: str, which: str) -> str:
    """Name the known key nearest to a wrong one."""
    import difflib  # only ever needed here

    known = {"unknown_label": _LABELS, "unknown_annotation": ON_POD}.get(which, ON_ACCOUNT)
    names_only = [each.removeprefix(names.PREFIX) for each in sorted(known)]
    near = difflib.get_close_matches(key.removeprefix(names.PREFIX).lower(), names_only, 1, 0.7)
    return f"; did you mean {near[0]}?" if near else ""


def _stray_annotation(key: str) -> str:
    if key in ON_ACCOUNT:
        return "belongs_on_account"
    if key in _LABELS:
        return "label_as_annotation"
    ends = key.startswith(names.USE_CUSTOM_ENDPOINT_PREFIX)
    return "endpoint_not_served" if ends else "unknown_annotation"


def is_tenant(text: str) -> bool:
    """Tell whether a text is a tenant's id or one of its domains; `common` is neither."""
    return is_guid(text) or _DOMAIN.fullmatch(text) is not None


def _look_at_account(pod: Pod, account: Account, wish: Wish, found: list[Said]) -> None:
    about = account.annotations
    client, tenant = about.get(names.CLIENT_ID), about.get(names.TENANT_ID)
    if not client:
        if not _all_name_a_client(pod, wish):
            found.append(("client_id_missing", {"account": account, "key": names.CLIENT_ID}))
    elif not is_guid(client):
        facts = {"account": account, "key": names.CLIENT_ID, "value": client}
        found.append(("client_id_malformed", facts))
    if tenant is not None and not is_tenant(tenant):
        facts = {"account": account, "key": names.TENANT_ID, "value": tenant}
        found.append(("tenant_malformed" if tenant else "tenant_empty", facts))
    for key in about:
        if key not in ON_ACCOUNT:
            known = key in ON_POD
            which = "belongs_on_pod" if known else "account_annotation_unknown"
            found.append((which, {"account": account, "key": key}))


def _all_name_a_client(pod: Pod, wish: Wish) -> bool:
    """Tell whether every container says itself which client it is, as several identities in a pod do."""
    return all(
        any(each.get("name") == names.ENV_CLIENT_ID for each in container.get("env") or ())
        for container in _served(pod, wish)
        if container.get("name") not in (names.PROXY_CONTAINER, names.PROXY_INIT_CONTAINER)
    )


def _containers(pod: Pod) -> list[Mapping[str, Any]]:
    spec = pod.spec
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]


def _served(pod: Pod, wish: Wish) -> list[Mapping[str, Any]]:
    """List the containers that get the token; nobody has looked into the others."""
    skipped = wish.skip_containers
    return [each for each in _containers(pod) if each.get("name", "") not in skipped]


def _look_at_names(pod: Pod, wish: Wish, found: list[Said]) -> None:
    there = {each.get("name") for each in _containers(pod)}
    there |= {"", names.PROXY_CONTAINER, names.PROXY_INIT_CONTAINER}
    # As many as can be told of, and the same ones in every process: a set has no order.
    for name in heapq.nsmallest(MAX_WARNINGS, wish.skip_containers - there):
        found += [("skips_nothing", {"key": names.SKIP_CONTAINERS, "value": name})]


def _look_at_proxy(pod: Pod, found: list[Said]) -> None:
    """Tell what keeps the sidecar from serving a pod, or is said of it and not heard."""
    value = pod.annotations[names.INJECT_PROXY]
    if not isinstance(value, str) or value.lower() != "true":
        found.append(("proxy_by_presence", {"key": names.INJECT_PROXY, "value": value}))
    user = _user(pod.spec)
    if user == _PROXY_UID:
        found.append(("not_redirected", {"key": "the pod"}))
    elif user is not None:
        which = "proxy_redirected" if user else "proxy_cannot_start"
        found.append((which, {"value": user}))
    for container in _containers(pod):
        name = container.get("name", "")
        if name != names.PROXY_CONTAINER and _user(container) == _PROXY_UID:
            found.append(("not_redirected", {"key": f"container {name}"}))


def _user(holder: Mapping[str, Any]) -> object:
    context = holder.get("securityContext")
    return context.get("runAsUser") if isinstance(context, dict) else None


def _virtual_node(spec: Mapping[str, Any]) -> str:
    """Say what of a pod leads it to a virtual node.

    The node label `kubernetes.io/role: agent`, which is written beside these, is on ordinary nodes too.
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
