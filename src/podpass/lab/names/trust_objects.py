"""Build the objects of the trust webhook: ConfigMaps, registration and permissions. Pure."""

import base64
from collections.abc import Mapping
from typing import Any

from podpass.admission.webhook_configuration import POD_CREATE_RULE, exclude_namespaces
from podpass.lab.names.bundles import fingerprint
from podpass.lab.names.injection import BundleNames, build_variables

NAMESPACE_LABEL, ENABLED, DISABLED = "podpass.dev/cloud", "enabled", "disabled"
# Marks the objects that podpass cloud creates outside its own namespace; `uninstall` deletes them by it.
MANAGED_LABEL = "podpass.dev/cloud-managed"
FINGERPRINT = "podpass.dev/trust-fingerprint"
CONFIGURATION = "podpass-cloud-trust"
CONFIGURATION_PATH = (
    f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{CONFIGURATION}"
)
WEBHOOK_NAME = "trust.cloud.podpass.dev"
WEBHOOK_PATH = "/trust-v1-pod"
SYSTEM_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease")

Object = dict[str, Any]


def build_config_maps(names: BundleNames, files: Mapping[str, bytes]) -> list[Object]:
    """Build the ConfigMaps of one namespace: the files of the bundle, and the variables.

    Both have the fingerprint of the bundle as an annotation.
    """
    text = {name: content.decode() for name, content in files.items() if content.isascii()}
    binary = {
        name: base64.b64encode(content).decode()
        for name, content in files.items()
        if name not in text
    }
    digest = fingerprint(files)
    bundle = _config_map(names.bundle, digest, data=text)
    if binary:
        bundle["binaryData"] = binary
    return [bundle, _config_map(names.environment, digest, data=build_variables(names))]


def _config_map(name: str, digest: str, *, data: Mapping[str, str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "labels": {MANAGED_LABEL: "true"},
            "annotations": {FINGERPRINT: digest},
        },
        "data": dict(data),
    }


def build_configuration(
    client_config: Mapping[str, Any],
    own_namespace: str,
    *,
    all_namespaces: bool = False,
    labels: Mapping[str, str] | None = None,
) -> Object:
    """Build the MutatingWebhookConfiguration, apart from that of the webhook for identities.

    A pod without the CA would start and fail later with a TLS error, so the failure policy is Fail.

    `client_config` is the Service or URL, with its caBundle; by default only labelled namespaces are
    selected. A pod with the label `podpass.dev/cloud: disabled` is never changed.
    """
    exempt = list_exempt_namespaces(own_namespace)
    selector = exclude_namespaces(exempt)
    if not all_namespaces:
        selector["matchLabels"] = {NAMESPACE_LABEL: ENABLED}
    opted_out = {"key": NAMESPACE_LABEL, "operator": "NotIn", "values": [DISABLED]}
    debug_rule = {
        **POD_CREATE_RULE,
        "operations": ["UPDATE"],
        "resources": ["pods/ephemeralcontainers"],
    }
    entry = {
        "name": WEBHOOK_NAME,
        "admissionReviewVersions": ["v1", "v1beta1"],
        "clientConfig": dict(client_config),
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "namespaceSelector": selector,
        "objectSelector": {"matchExpressions": [opted_out]},
        # Another webhook may add containers after this one.
        "reinvocationPolicy": "IfNeeded",
        # The ConfigMaps of the namespace; a dry run writes none.
        "sideEffects": "NoneOnDryRun",
        "timeoutSeconds": 10,
        "rules": [POD_CREATE_RULE, debug_rule],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": CONFIGURATION, "labels": dict(labels or {})},
        "webhooks": [entry],
    }


def list_exempt_namespaces(own_namespace: str) -> list[str]:
    """Return the namespaces whose pods are never changed: the system's and that of podpass cloud."""
    return [*SYSTEM_NAMESPACES, own_namespace]


def is_selected(namespace: Object, own_namespace: str, *, all_namespaces: bool) -> bool:
    """Return whether the registration selects a namespace."""
    metadata = namespace.get("metadata") or {}
    if metadata.get("name") in list_exempt_namespaces(own_namespace):
        return False
    return all_namespaces or (metadata.get("labels") or {}).get(NAMESPACE_LABEL) == ENABLED


def selects_all_namespaces(registration: Object) -> bool:
    """Return whether a registration selects namespaces without the label, too."""
    hooks = registration.get("webhooks") or ()
    return bool(hooks) and not any(
        NAMESPACE_LABEL in ((each.get("namespaceSelector") or {}).get("matchLabels") or {})
        for each in hooks
    )


def build_rules(names: BundleNames) -> list[Object]:
    """Build the ClusterRole rules with which the webhook writes the ConfigMaps of selected namespaces.

    Kubernetes cannot limit `create` to names. All other verbs are limited to the two ConfigMaps, and to the
    registration: the webhook writes its certificate into it, and reads whether it selects all namespaces.
    """
    return [
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]},
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": [names.bundle, names.environment],
            "verbs": ["get", "patch"],
        },
        {
            "apiGroups": ["admissionregistration.k8s.io"],
            "resources": ["mutatingwebhookconfigurations"],
            "resourceNames": [CONFIGURATION],
            "verbs": ["get", "update"],
        },
    ]
