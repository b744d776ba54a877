"""Parse annotations: the pod's value, otherwise the ServiceAccount's, otherwise the default.

Pure. Source: azure-workload-identity's rules, recorded in `tests/vectors/admission.json`.
"""

import re
from collections.abc import Mapping
from typing import Any

from podpass import names
from podpass.account.model import (
    IPTABLES,
    PROXY_MODES,
    BadAnnotation,
    MalformedPod,
    Pod,
    PodIdentityConfig,
    ProxyOnHostNetwork,
    ServiceAccount,
    quote,
)

TOKEN_SECONDS = (3600, 86400)
DEFAULT_TOKEN_SECONDS = 3600
PORTS = (1, 65535)
DEFAULT_PROXY_PORT = 8000

ACCOUNT_ANNOTATIONS = frozenset({names.CLIENT_ID, names.TENANT_ID, names.TOKEN_EXPIRATION})
POD_ANNOTATIONS = frozenset(
    {
        names.TOKEN_EXPIRATION,
        names.SKIP_CONTAINERS,
        names.INJECT_PROXY,
        names.PROXY_PORT,
        names.PROXY_MODE,
        names.LEGACY_TOKEN_PATH,
    }
)
PREFIXES = (names.PREFIX, names.OWN_PREFIX)
_OFF, _ON = _SWITCH = ("false", "true")
# The maximum number of cached unknown keys of a ServiceAccount; a few are enough for warnings.
_MAX_UNKNOWN = 3
# Integers as azure-workload-identity parses them: no blanks, underscores, hexadecimal or non-ASCII digits.
_INTEGER = re.compile(r"[+-]?[0-9]+")
# More digits than any valid value has; int() would be slow for a longer text.
_MAX_DIGITS = 19
# The whitespace that azure-workload-identity trims; str.strip() would also remove 0x1c to 0x1f.
_BLANKS = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


def parse_identity_config(
    pod: Pod,
    account: ServiceAccount,
    *,
    tenant_id: str,
    custom_endpoint_annotation: str | None = None,
    proxy_mode: str = IPTABLES,
    legacy_path: bool = False,
) -> PodIdentityConfig:
    """Parse and validate the annotations of a pod and its ServiceAccount.

    `tenant_id` is the webhook's default, for ServiceAccounts without a tenant annotation;
    `custom_endpoint_annotation` is the full key, None if the webhook serves no custom token endpoint;
    `proxy_mode` and `legacy_path` are the webhook's defaults. Raises ProxyOnHostNetwork, BadAnnotation, in
    this order; proxy errors come before token errors.
    """
    # NOTE: the presence of the key counts, not its value: "false" injects the sidecar too, as in the
    # reference.
    wants_proxy = names.INJECT_PROXY in pod.annotations
    return PodIdentityConfig(
        proxy_port=_parse_proxy_port(pod) if wants_proxy else None,
        proxy_mode=_parse_choice(pod, names.PROXY_MODE, PROXY_MODES, proxy_mode),
        token_seconds=_parse_token_seconds(pod, account),
        client_id=account.annotations.get(names.CLIENT_ID, ""),
        # An empty annotation means no tenant: the SDK chooses one.
        tenant_id=account.annotations.get(names.TENANT_ID, tenant_id),
        skip_containers=_parse_skip_containers(pod),
        custom_endpoint=custom_endpoint_annotation is not None
        and (_get_annotation(pod, custom_endpoint_annotation) or "").lower() == "true",
        legacy_path=_parse_choice(
            pod, names.LEGACY_TOKEN_PATH, _SWITCH, _ON if legacy_path else _OFF
        )
        == _ON,
    )


def _get_annotation(pod: Pod, key: str) -> str | None:
    value = pod.annotations.get(key)
    if value is not None and not isinstance(value, str):
        raise MalformedPod(
            f"{pod}: annotation {key} = {quote(value)} is not text",
            hint="write its value in quotes",
            annotation=key,
        )
    return value


def _parse_proxy_port(pod: Pod) -> int:
    if pod.spec.get("hostNetwork") is True:
        raise ProxyOnHostNetwork(
            f"{pod} requests the proxy sidecar (annotation {names.INJECT_PROXY}) and hostNetwork: true",
            hint="remove one of the two: with the host network the sidecar would serve the whole node",
            annotation=names.INJECT_PROXY,
        )
    value = _get_annotation(pod, names.PROXY_PORT)
    if value is None:
        return DEFAULT_PROXY_PORT
    return _parse_integer(value, str(pod), names.PROXY_PORT, PORTS)


def _parse_choice(pod: Pod, key: str, choices: tuple[str, ...], default: str) -> str:
    value = _get_annotation(pod, key)
    if value is None:
        return default
    if value not in choices:
        expected = " or ".join(choices)
        raise BadAnnotation(
            f"{pod}: annotation {key} = {quote(value)} is not {expected}",
            hint=f"set it to {expected}, or remove it",
            object=str(pod),
            annotation=key,
            value=value[:64],
        )
    return value


def _parse_token_seconds(pod: Pod, account: ServiceAccount) -> int:
    # An empty value counts as absent; any other value of the pod overrides that of the ServiceAccount.
    if value := _get_annotation(pod, names.TOKEN_EXPIRATION):
        return _parse_integer(value, str(pod), names.TOKEN_EXPIRATION, TOKEN_SECONDS)
    if value := account.annotations.get(names.TOKEN_EXPIRATION):
        return _parse_integer(value, str(account), names.TOKEN_EXPIRATION, TOKEN_SECONDS)
    return DEFAULT_TOKEN_SECONDS


def _parse_integer(value: str, owner: str, key: str, bounds: tuple[int, int]) -> int:
    low, high = bounds
    if _INTEGER.fullmatch(value):
        digits = value.lstrip("+-").lstrip("0") or "0"
        number = int(digits[: _MAX_DIGITS + 1]) * (-1 if value.startswith("-") else 1)
        if low <= number <= high:
            return number
        fault = "is out of range"
    else:
        fault = "is not a whole number"
    raise BadAnnotation(
        f"{owner}: annotation {key} = {quote(value)} {fault}",
        hint=f"set it to a whole number from {low} to {high}, or remove it",
        object=owner,
        annotation=key,
        value=value[:64],
    )


def _parse_skip_containers(pod: Pod) -> frozenset[str]:
    text = _get_annotation(pod, names.SKIP_CONTAINERS)
    return frozenset(part.strip(_BLANKS) for part in text.split(";")) if text else frozenset()


def filter_annotations(annotations: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the annotations of a ServiceAccount that `parse_identity_config` reads, and a few unknown keys.

    Only keys with the prefixes of Workload ID and podpass; an unknown key has an empty value, for a warning.
    """
    if not annotations:
        return {}
    own = [key for key in annotations if key.startswith(PREFIXES)]
    known = {key: annotations[key] for key in own if key in ACCOUNT_ANNOTATIONS}
    unknown = [key for key in own if key not in ACCOUNT_ANNOTATIONS]
    return known | dict.fromkeys(unknown[:_MAX_UNKNOWN], "")
