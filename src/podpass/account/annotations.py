"""The only reader of annotations' values: the pod's, then its account's, then the default; checked once.

Pure. Source: the reference's rules, recorded in `tests/vectors/admission.json`.
"""

import re
from collections.abc import Mapping
from typing import Any

from podpass import names
from podpass.account.model import (
    Account,
    BadAnnotation,
    MalformedPod,
    Pod,
    ProxyOnHostNetwork,
    Wish,
    quoted,
)

TOKEN_SECONDS = (3600, 86400)
DEFAULT_TOKEN_SECONDS = 3600
PORTS = (1, 65535)
DEFAULT_PROXY_PORT = 8000

ON_ACCOUNT = frozenset({names.CLIENT_ID, names.TENANT_ID, names.TOKEN_EXPIRATION})
ON_POD = frozenset(
    {names.TOKEN_EXPIRATION, names.SKIP_CONTAINERS, names.INJECT_PROXY, names.PROXY_PORT}
)
# As many unknown keys of ours are kept of an account: enough to warn of, and no room for a hoard.
_MAX_UNKNOWN = 3
# Digits as the reference's parser takes them: no blanks, underscores, hexadecimal or other scripts.
_INTEGER = re.compile(r"[+-]?[0-9]+")
# One digit more than any range here has; a longer text would only make int() work hard.
_MAX_DIGITS = 19
# White space as the reference trims it; str.strip() would also take the separators 0x1c to 0x1f.
_BLANKS = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


def read_wish(
    pod: Pod, account: Account, *, tenant_id: str, custom_endpoint_annotation: str | None = None
) -> Wish:
    """Find out what a pod and its account ask for.

    Shapes:  `tenant_id` is the webhook's own, for accounts that name none; the annotation is the full key,
             None where this webhook serves no custom token endpoint.
    Errors:  ProxyOnHostNetwork, BadAnnotation, in this order; a proxy's faults come before the token's.
    """
    # NOTE: the key's presence counts, not its value: "false" injects the sidecar too, as in the reference.
    wants_proxy = names.INJECT_PROXY in pod.annotations
    return Wish(
        proxy_port=_proxy_port(pod) if wants_proxy else None,
        token_seconds=_token_seconds(pod, account),
        client_id=account.annotations.get(names.CLIENT_ID, ""),
        # Present but empty means no tenant at all, and the SDK's own choice.
        tenant_id=account.annotations.get(names.TENANT_ID, tenant_id),
        skip_containers=_skip_containers(pod),
        custom_endpoint=custom_endpoint_annotation is not None
        and (_annotation(pod, custom_endpoint_annotation) or "").lower() == "true",
    )


def _annotation(pod: Pod, key: str) -> str | None:
    value = pod.annotations.get(key)
    if value is not None and not isinstance(value, str):
        raise MalformedPod(
            f"{pod}: annotation {key} = {quoted(value)} is not text",
            hint="write its value in quotes",
            annotation=key,
        )
    return value


def _proxy_port(pod: Pod) -> int:
    if pod.spec.get("hostNetwork") is True:
        raise ProxyOnHostNetwork(
            f"{pod} asks for the proxy sidecar (annotation {names.INJECT_PROXY}) and for hostNetwork: true",
            hint="remove one of the two: on the host's network the sidecar would redirect the whole node",
            annotation=names.INJECT_PROXY,
        )
    value = _annotation(pod, names.PROXY_PORT)
    if value is None:
        return DEFAULT_PROXY_PORT
    return _integer(value, str(pod), names.PROXY_PORT, PORTS)


def _token_seconds(pod: Pod, account: Account) -> int:
    # An empty value counts as none; a value of the pod hides the account's, good or bad.
    if value := _annotation(pod, names.TOKEN_EXPIRATION):
        return _integer(value, str(pod), names.TOKEN_EXPIRATION, TOKEN_SECONDS)
    if value := account.annotations.get(names.TOKEN_EXPIRATION):
        return _integer(value, str(account), names.TOKEN_EXPIRATION, TOKEN_SECONDS)
    return DEFAULT_TOKEN_SECONDS


def _integer(value: str, owner: str, key: str, bounds: tuple[int, int]) -> int:
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
        f"{owner}: annotation {key} = {quoted(value)} {fault}",
        hint=f"set it to a whole number from {low} to {high}, or remove it",
        object=owner,
        annotation=key,
        value=value[:64],
    )


def _skip_containers(pod: Pod) -> frozenset[str]:
    text = _annotation(pod, names.SKIP_CONTAINERS)
    return frozenset(part.strip(_BLANKS) for part in text.split(";")) if text else frozenset()


def relevant(annotations: Mapping[str, Any] | None) -> dict[str, str]:
    """Keep of an account's annotations those that `read_wish` looks at, and names of a few others of ours.

    Shapes:  what is not known is kept with no value, for a warning to name it.
    """
    if not annotations:
        return {}
    ours = [key for key in annotations if key.startswith(names.PREFIX)]
    kept = {key: annotations[key] for key in ours if key in ON_ACCOUNT}
    unknown = [key for key in ours if key not in ON_ACCOUNT]
    return kept | dict.fromkeys(unknown[:_MAX_UNKNOWN], "")
