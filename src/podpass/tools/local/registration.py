"""What an instance asks of its cluster and applies to it, like any installer: its webhook, and who may what.

Server-side apply, so that a start after an address changed mends what the last one wrote.
"""

import base64
from typing import Any

from podpass import names
from podpass.admission import sidecar
from podpass.kube import APPLY_PATCH, KubeClient, KubeError
from podpass.tools.local import ca

_RBAC = "rbac.authorization.k8s.io"
_WEBHOOKS = "admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
_QUERY = "fieldManager=podpass&force=true"
_NOT_FOUND = 404
RUNTIME_ROLE = "podpass:runtime"

Object = dict[str, Any]


async def grant_rights(client: KubeClient) -> None:
    """Apply who may what, in the name of an administrator.

    Errors:  KubeError.
    """
    await _apply(client, f"{_RBAC}/v1/clusterroles", _runtime_role())
    await _apply(client, f"{_RBAC}/v1/clusterrolebindings", _runtime_binding())


async def register_webhook(client: KubeClient, url: str, ca_pem: bytes) -> None:
    """Apply the webhook's registration, in the name of an administrator.

    Errors:  KubeError.
    """
    await _apply(client, _WEBHOOKS, webhook_configuration(url, ca_pem))


async def unregister_webhook(client: KubeClient) -> None:
    """Take the webhook out, if it is there.

    Errors:  KubeError.
    """
    try:
        await client.delete(f"/apis/{_WEBHOOKS}/{names.WEBHOOK_CONFIGURATION}")
    except KubeError as exc:
        if exc.status != _NOT_FOUND:
            raise


async def _apply(client: KubeClient, collection: str, body: Object) -> None:
    path = f"/apis/{collection}/{body['metadata']['name']}?{_QUERY}"
    await client.patch(path, body, APPLY_PATCH)


async def runs_native_sidecars(client: KubeClient) -> bool:
    """Ask an API server whether it runs sidecars as init containers.

    Errors:  KubeError, UnknownVersion.
    """
    version = await client.get("/version")
    return sidecar.runs_native_sidecars(str(version.get("gitVersion")))


def _runtime_role() -> Object:
    """Let the runtime give pods to its node: beside being the kubelet, it is the only scheduler here."""
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": RUNTIME_ROLE},
        "rules": [{"apiGroups": [""], "resources": ["pods/binding"], "verbs": ["create"]}],
    }


def _runtime_binding() -> Object:
    user, _ = ca.CLIENTS[ca.RUNTIME]
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": RUNTIME_ROLE},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": RUNTIME_ROLE},
        "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": user}],
    }


def webhook_configuration(url: str, ca_pem: bytes) -> dict[str, Any]:
    """Register the webhook under the reference's names, failing closed for labelled pods only."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": names.WEBHOOK_CONFIGURATION},
        "webhooks": [
            {
                "name": names.WEBHOOK_NAME,
                "admissionReviewVersions": ["v1", "v1beta1"],
                "clientConfig": {"url": url, "caBundle": base64.b64encode(ca_pem).decode()},
                "failurePolicy": "Fail",
                "matchPolicy": "Equivalent",
                "objectSelector": {"matchLabels": {names.USE_LABEL: "true"}},
                "reinvocationPolicy": "IfNeeded",
                "sideEffects": "None",
                "timeoutSeconds": 10,
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["pods"],
                        "scope": "*",
                    }
                ],
            }
        ],
    }
