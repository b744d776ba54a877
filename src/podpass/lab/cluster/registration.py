"""Objects that an instance applies to its cluster: RBAC rules and the registration of the webhook.

Server-side apply updates the objects when an address has changed since the last start.
"""

import base64
from collections.abc import Iterator
from typing import Any

from kubeling.kubelet.pod_addresses import usable_network

from podpass import __version__, names
from podpass.admission import sidecar
from podpass.admission import webhook_configuration as registration
from podpass.errors import Error
from podpass.kubernetes.client import APPLY_PATCH, KubeClient
from podpass.lab.data import ca
from podpass.settings import WebhookSettings

_RBAC = "rbac.authorization.k8s.io"
_WEBHOOKS = "admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
_WEBHOOK = f"/apis/{_WEBHOOKS}/{names.WEBHOOK_CONFIGURATION}"
_QUERY = "fieldManager=podpass&force=true"
# `helm install` of a chart with a webhook of this name fails, and its error shows this annotation.
_RELEASE = "meta.helm.sh/release-name"
_NO_RELEASE = (
    "none: this webhook is built into podpass up, and `podpass up --no-webhook` leaves it out"
)
_WITHOUT_ADVICE = ("kube-system",)
_PUBLIC_ISSUER, _ANONYMOUS = "podpass:public-issuer", "system:unauthenticated"
RUNTIME_ROLE, WEBHOOK_ROLE = "podpass:runtime", "podpass:webhook"

Object = dict[str, Any]


async def apply_rbac(client: KubeClient) -> None:
    """Apply the RBAC objects of the kubelet and the webhook; the client must be an administrator.

    Raises KubeError.
    """
    for role in (_RUNTIME_ROLE, _WEBHOOK_ROLE):
        await _apply(client, f"{_RBAC}/v1/clusterroles", role)
    for binding in _bindings():
        await _apply(client, f"{_RBAC}/v1/clusterrolebindings", binding)


async def publish_issuer(client: KubeClient, *, is_public: bool) -> None:
    """Let anonymous callers read the documents of the issuer, or no longer.

    Raises KubeError.
    """
    binding = _binding(
        _PUBLIC_ISSUER, "system:service-account-issuer-discovery", "Group", _ANONYMOUS
    )
    collection = f"{_RBAC}/v1/clusterrolebindings"
    if is_public:
        await _apply(client, collection, binding)
        return
    if await client.find(f"/apis/{collection}/{_PUBLIC_ISSUER}") is not None:
        await client.delete(f"/apis/{collection}/{_PUBLIC_ISSUER}")


class OtherWebhook(Error):
    """Another webhook has the name of the built-in one: a chart has installed it."""

    code = "other_webhook"
    status = 409
    hint = (
        "use the other one: podpass up --no-webhook; or delete it:"
        f" kubectl delete mutatingwebhookconfiguration {names.WEBHOOK_CONFIGURATION}"
    )


async def register_webhook(client: KubeClient, url: str, ca_pem: bytes) -> None:
    """Apply the MutatingWebhookConfiguration; the client must be an administrator.

    Raises KubeError, OtherWebhook.
    """
    if await _is_built_in(client) is False:
        raise OtherWebhook(f"another webhook is registered as {names.WEBHOOK_CONFIGURATION}")
    await _apply(client, _WEBHOOKS, webhook_configuration(url, ca_pem))


async def unregister_webhook(client: KubeClient) -> None:
    """Delete the MutatingWebhookConfiguration of the built-in webhook, if it exists, and never a chart's.

    Raises KubeError.
    """
    if await _is_built_in(client):
        await client.delete(_WEBHOOK)


async def _is_built_in(client: KubeClient) -> bool | None:
    """Return whether the registered webhook is the built-in one, which has a URL; None without a webhook."""
    if (found := await client.find(_WEBHOOK)) is None:
        return None
    return all("url" in each["clientConfig"] for each in found.get("webhooks") or ())


async def _apply(client: KubeClient, collection: str, body: Object) -> None:
    path = f"/apis/{collection}/{body['metadata']['name']}?{_QUERY}"
    await client.patch(path, body, APPLY_PATCH)


async def runs_native_sidecars(client: KubeClient) -> bool:
    """Return whether the API server supports native sidecars (restartable init containers).

    Raises KubeError, UnknownVersion.
    """
    version = await client.get("/version")
    return sidecar.supports_native_sidecars(str(version.get("gitVersion")))


def build_webhook_settings(
    tenant_id: str, *, native_sidecar: bool, **custom_endpoint: Any
) -> WebhookSettings:
    """Return the settings of the webhook of an instance, which has the migration sidecar built in."""
    return WebhookSettings(
        tenant_id=tenant_id,
        native_sidecar=native_sidecar,
        proxy_image=f"{names.PROXY_IMAGE}:{__version__}",
        proxy_init_image=f"{names.PROXY_INIT_IMAGE}:{__version__}",
        # The sidecar's log lines show users that a workload uses the sidecar.
        log_level="info",
        proxy_on_pod_address=usable_network() is not None,
        **custom_endpoint,
    )


def _role(name: str, *rules: Object) -> Object:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": list(rules),
    }


# The kubelet is also the only scheduler here: it binds pods to its node, except those of a namespace that is
# being deleted.
_RUNTIME_ROLE = _role(
    RUNTIME_ROLE,
    {"apiGroups": [""], "resources": ["pods/binding"], "verbs": ["create"]},
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch"]},
    {
        "apiGroups": ["discovery.k8s.io"],
        "resources": ["endpointslices"],
        "verbs": ["get", "list", "watch"],
    },
)
# The chart's ClusterRole without the rules for certificate rotation: the instance's CA signs here.
# It also reads pods, to report those that differ from their account.
_WEBHOOK_ROLE = _role(
    WEBHOOK_ROLE,
    registration.READ_ACCOUNTS_RULE,
    registration.WRITE_EVENTS_RULE,
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
)


def _bindings() -> Iterator[Object]:
    """Return the role bindings of the kubelet and the webhook.

    The kubelet also gets the role system:node: the node authorizer of a real API server would hide unbound
    pods from it.
    """
    runtime, webhook = (ca.CLIENTS[part][0] for part in (ca.RUNTIME, ca.WEBHOOK))
    for name, role, user in (
        (RUNTIME_ROLE, RUNTIME_ROLE, runtime),
        ("podpass:node", "system:node", runtime),
        (WEBHOOK_ROLE, WEBHOOK_ROLE, webhook),
    ):
        yield _binding(name, role, "User", user)


def _binding(name: str, role: str, kind: str, subject: str) -> Object:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": _RBAC, "kind": kind, "name": subject}],
    }


def webhook_configuration(url: str, ca_pem: bytes) -> dict[str, Any]:
    """Return the MutatingWebhookConfiguration: that of azure-workload-identity, and warning entries.

    In a cluster those are off by default, because each pod without the label waits for them. A local instance
    has few pods, and a forgotten label is the most frequent mistake.

    `url` is the address of WEBHOOK_PATH.
    """
    bundle, origin = base64.b64encode(ca_pem).decode(), url.removesuffix(names.WEBHOOK_PATH)
    advice, workloads = (
        {"url": origin + path, "caBundle": bundle}
        for path in (names.ADVICE_PATH, names.WORKLOAD_ADVICE_PATH)
    )
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": names.WEBHOOK_CONFIGURATION, "annotations": {_RELEASE: _NO_RELEASE}},
        "webhooks": [
            registration.build_mutation_entry({"url": url, "caBundle": bundle}),
            registration.build_advice_entry(advice, _WITHOUT_ADVICE),
            registration.build_workload_advice_entry(workloads, _WITHOUT_ADVICE),
        ],
    }
