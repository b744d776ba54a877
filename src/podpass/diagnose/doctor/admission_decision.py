"""What admission decides about a pod and its ServiceAccount, by the webhook's own rules. Pure."""

from collections.abc import Mapping
from typing import Any

from podpass import names
from podpass.account.annotations import filter_annotations, parse_identity_config
from podpass.account.model import ENV, PodRefused, ServiceAccount, parse_pod
from podpass.admission.mutate import mutate
from podpass.admission.warnings import find_label_warnings, find_warnings, render
from podpass.diagnose.doctor.model import AdmissionDecision
from podpass.kubernetes.objects import list_containers, list_projected_tokens
from podpass.settings import WebhookSettings

_TENANT = (
    "00000000-0000-0000-0000-000000000000"  # the webhook's default tenant; no rule depends on it
)
_IMAGE = "podpass-proxy"  # not azure-workload-identity's, which does not support the mode env
# The doctor knows neither the webhook's custom token endpoint nor its authority.
_IGNORED = ("endpoint_not_served", "authority_set")


def decide(
    pod: Mapping[str, Any],
    namespace: str,
    account_name: str,
    annotations: Mapping[str, Any],
    injected: Mapping[str, Any] | None = None,
) -> AdmissionDecision:
    """Apply the webhook's rules to a pod without injection, and to the annotations of its account.

    `injected` is the pod after admission; it shows the defaults of the webhook.
    """
    account = ServiceAccount(
        namespace=namespace, name=account_name, annotations=filter_annotations(annotations)
    )
    settings = WebhookSettings(tenant_id=_TENANT, proxy_image=_IMAGE, native_sidecar=True)
    try:
        parsed = parse_pod(pod, namespace)
        config = parse_identity_config(
            parsed, account, tenant_id=_TENANT, **_find_defaults(injected or {})
        )
        mutation = mutate(parsed, config, settings)
    except PodRefused as exc:
        return AdmissionDecision(refusal=exc)
    found = [
        *find_label_warnings(parsed, account),
        *find_warnings(parsed, account, config, mutation, None),
    ]
    return AdmissionDecision(warnings=_group(found))


def _find_defaults(injected: Mapping[str, Any]) -> dict[str, Any]:
    """Return the webhook's settings that change its decision, as far as an injected pod shows them."""
    containers = {str(each.get("name")) for each in list_containers(injected)}
    is_env = names.PROXY_CONTAINER in containers and names.PROXY_INIT_CONTAINER not in containers
    has_legacy_path = any(
        token.get("path") == names.LEGACY_TOKEN_FILE and volume.startswith(names.VOLUME_PREFIX)
        for volume, token in list_projected_tokens(injected)
    )
    return {"legacy_path": has_legacy_path} | ({"proxy_mode": ENV} if is_env else {})


def _group(found: list[tuple[str, dict[str, object]]]) -> dict[str, tuple[str, ...]]:
    grouped: dict[str, tuple[str, ...]] = {}
    for code, facts in found:
        text = render(code, facts)
        if code not in _IGNORED and text not in grouped.get(code, ()):
            grouped[code] = (*grouped.get(code, ()), text)
    return grouped
