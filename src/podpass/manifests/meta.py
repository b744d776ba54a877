"""Names and labels that the objects share, and the shortest way to write one down."""

from typing import Any

from podpass import __version__, names
from podpass.manifests.values import Values

Object = dict[str, Any]

ACCOUNT = "azure-wi-webhook-admin"
ROLE = "azure-wi-webhook-manager-role"
ROLE_BINDING = "azure-wi-webhook-manager-rolebinding"
CONFIG = "azure-wi-webhook-config"
SERVER_CERT = names.CERTIFICATE_SECRET
CERT_MANAGER_SECRET = "azure-wi-webhook-cert-manager"  # noqa: S105 a name
CERT_MANAGER_CA = "azure-wi-webhook-ca"
CERT_MANAGER_SELF_SIGNED = "azure-wi-webhook-selfsigned"
SERVICE = names.WEBHOOK_SERVICE
DEPLOYMENT = "azure-wi-webhook-controller-manager"

# The reference's static manifest selects by this alone, and a Deployment keeps its selector for ever.
SELECTOR = {"azure-workload-identity.io/system": "true"}
LABELS = {
    **SELECTOR,
    "app.kubernetes.io/name": "podpass",
    "app.kubernetes.io/version": __version__,
}


def write(version: str, kind: str, name: str, namespace: str | None = None, **rest: Any) -> Object:
    """Write an object with its labels; without a namespace it belongs to the cluster."""
    place = {"namespace": namespace} if namespace else {}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, **place, "labels": dict(LABELS)},
        **rest,
    }


def own(values: Values, version: str, kind: str, name: str, **rest: Any) -> Object:
    """Write an object of the webhook's namespace."""
    return write(version, kind, name, values.namespace, **rest)
