"""What admission decides about a pod and its ServiceAccount, by the webhook's own rules. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from podpass.account.annotations import filter_annotations, parse_identity_config
from podpass.account.model import PodRefused, ServiceAccount, parse_pod
from podpass.admission.mutate import mutate
from podpass.admission.warnings import find_label_warnings, find_warnings, render
from podpass.settings import WebhookSettings

_TENANT = (
    "00000000-0000-0000-0000-000000000000"  # the webhook's default tenant; no rule depends on it
)
_IMAGE = "podpass-proxy"  # any image but the reference's, which does not serve the mode env
# The doctor does not know the webhook's custom token endpoint.
_IGNORED = ("endpoint_not_served",)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionDecision:
    """The result of the webhook's rules for one pod.

    Shapes:  `warnings` maps the code of each warning to its texts; `refusal` is the error of a pod that no
             webhook admits.
    """

    refusal: PodRefused | None = None
    warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def decide(
    pod: Mapping[str, Any], namespace: str, account_name: str, annotations: Mapping[str, Any]
) -> AdmissionDecision:
    """Apply the webhook's rules to a pod without injection, and to the annotations of its account."""
    account = ServiceAccount(
        namespace=namespace, name=account_name, annotations=filter_annotations(annotations)
    )
    settings = WebhookSettings(tenant_id=_TENANT, proxy_image=_IMAGE, native_sidecar=True)
    try:
        parsed = parse_pod(pod, namespace)
        config = parse_identity_config(parsed, account, tenant_id=_TENANT)
        mutation = mutate(parsed, config, settings)
    except PodRefused as exc:
        return AdmissionDecision(refusal=exc)
    found = [
        *find_label_warnings(parsed, account),
        *find_warnings(parsed, account, config, mutation, None),
    ]
    return AdmissionDecision(warnings=_group(found))


def _group(found: list[tuple[str, dict[str, object]]]) -> dict[str, tuple[str, ...]]:
    grouped: dict[str, tuple[str, ...]] = {}
    for code, facts in found:
        text = render(code, facts)
        if code not in _IGNORED and text not in grouped.get(code, ()):
            grouped[code] = (*grouped.get(code, ()), text)
    return grouped
