"""Build the MutatingWebhookConfiguration, and cert-manager's objects if it issues the certificate."""

from typing import Any

from podpass import names
from podpass.admission.webhook_configuration import (
    build_advice_entry,
    build_mutation_entry,
    exclude_namespaces,
)
from podpass.manifests.meta import (
    CERT_MANAGER_CA,
    CERT_MANAGER_SECRET,
    CERT_MANAGER_SELF_SIGNED,
    SERVER_CERT,
    SERVICE,
    Object,
    build_namespaced_object,
    build_object,
)
from podpass.manifests.values import ManifestValues


def build_registration(values: ManifestValues) -> Object:
    """Build the MutatingWebhookConfiguration; the webhook or cert-manager adds the caBundle later."""
    entries = [_build_mutation_entry(values)]
    if values.advice:
        entries.append(_build_advice_entry(values))
    found = build_object(
        "admissionregistration.k8s.io/v1",
        "MutatingWebhookConfiguration",
        names.WEBHOOK_CONFIGURATION,
        webhooks=entries,
    )
    if values.cert_manager:
        certificate = f"{values.namespace}/{SERVER_CERT}"
        found["metadata"]["annotations"] = {"cert-manager.io/inject-ca-from": certificate}
    return found


def _build_mutation_entry(values: ManifestValues) -> Object:
    return {
        **build_mutation_entry(_build_client_config(values, names.WEBHOOK_PATH)),
        "failurePolicy": values.failure_policy,
        "namespaceSelector": exclude_namespaces(values.exempt),
        "sideEffects": "NoneOnDryRun" if values.events else "None",
        "timeoutSeconds": values.timeout_seconds,
    }


def _build_advice_entry(values: ManifestValues) -> Object:
    entry = build_advice_entry(_build_client_config(values, names.ADVICE_PATH), values.exempt)
    return {**entry, "timeoutSeconds": values.advice_timeout_seconds}


def _build_client_config(values: ManifestValues, path: str) -> Object:
    return {"service": {"name": SERVICE, "namespace": values.namespace, "path": path}}


def build_cert_manager_objects(values: ManifestValues) -> list[Object]:
    """Build cert-manager's objects for the certificate: a CA that outlives its leaf certificates.

    With self-signed leaf certificates, the API server would trust a new one a minute before the pods serve
    it.
    """
    if not values.cert_manager:
        return []
    self_signed, authority = CERT_MANAGER_SELF_SIGNED, CERT_MANAGER_CA
    key = {"algorithm": "ECDSA", "size": 256}
    ca = {
        "secretName": authority,
        "commonName": names.CA_NAME,
        "isCA": True,
        "duration": "87600h",
        "privateKey": key,
        "issuerRef": {"kind": "Issuer", "name": self_signed},
    }
    leaf = {
        "secretName": CERT_MANAGER_SECRET,
        "duration": "2160h",
        "renewBefore": "720h",
        "dnsNames": [f"{SERVICE}.{values.namespace}.svc"],
        "usages": ["digital signature", "server auth"],
        "privateKey": {**key, "rotationPolicy": "Always"},
        "issuerRef": {"kind": "Issuer", "name": authority},
    }
    return [
        _build_object(values, "Issuer", self_signed, {"selfSigned": {}}),
        _build_object(values, "Certificate", authority, ca),
        _build_object(values, "Issuer", authority, {"ca": {"secretName": authority}}),
        _build_object(values, "Certificate", SERVER_CERT, leaf),
    ]


def _build_object(values: ManifestValues, kind: str, name: str, spec: dict[str, Any]) -> Object:
    return build_namespaced_object(values, "cert-manager.io/v1", kind, name, spec=spec)
