"""Names and labels that the objects share, and builders for one object."""

from typing import Any

from podpass import __version__, names
from podpass.manifests.values import ManifestValues

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

# The selector of the reference's static manifest; the selector of a Deployment is immutable.
SELECTOR = {"azure-workload-identity.io/system": "true"}
LABELS = {
    **SELECTOR,
    "app.kubernetes.io/name": "podpass",
    "app.kubernetes.io/version": __version__,
}


def build_object(
    version: str, kind: str, name: str, namespace: str | None = None, **rest: Any
) -> Object:
    """Build an object with the common labels; without a namespace it is cluster-scoped."""
    scope = {"namespace": namespace} if namespace else {}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, **scope, "labels": dict(LABELS)},
        **rest,
    }


def build_namespaced_object(
    values: ManifestValues, version: str, kind: str, name: str, **rest: Any
) -> Object:
    """Build an object in the webhook's namespace."""
    return build_object(version, kind, name, values.namespace, **rest)
