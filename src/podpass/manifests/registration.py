"""How the API server comes to ask the webhook, and cert-manager's part where it has one."""

from typing import Any

from podpass import names
from podpass.admission.webhook_configuration import advice, elsewhere, mutation
from podpass.manifests.meta import (
    CERT_MANAGER_CA,
    CERT_MANAGER_SECRET,
    CERT_MANAGER_SELF_SIGNED,
    SERVER_CERT,
    SERVICE,
    Object,
    own,
    write,
)
from podpass.manifests.values import Values


def registration(values: Values) -> Object:
    """Write the MutatingWebhookConfiguration; whoever has the certificate adds its caBundle."""
    entries = [_mutation(values)]
    if values.advice:
        entries.append(_advice(values))
    found = write(
        "admissionregistration.k8s.io/v1",
        "MutatingWebhookConfiguration",
        names.WEBHOOK_CONFIGURATION,
        webhooks=entries,
    )
    if values.cert_manager:
        certificate = f"{values.namespace}/{SERVER_CERT}"
        found["metadata"]["annotations"] = {"cert-manager.io/inject-ca-from": certificate}
    return found


def _mutation(values: Values) -> Object:
    return {
        **mutation(_service(values, names.WEBHOOK_PATH)),
        "failurePolicy": values.failure_policy,
        "namespaceSelector": elsewhere(values.exempt),
        "sideEffects": "NoneOnDryRun" if values.events else "None",
        "timeoutSeconds": values.timeout_seconds,
    }


def _advice(values: Values) -> Object:
    entry = advice(_service(values, names.ADVICE_PATH), values.exempt)
    return {**entry, "timeoutSeconds": values.advice_timeout_seconds}


def _service(values: Values, path: str) -> Object:
    return {"service": {"name": SERVICE, "namespace": values.namespace, "path": path}}


def certificates(values: Values) -> list[Object]:
    """Write what cert-manager makes the certificate from: an authority that outlives its leaves.

    Were a leaf its own authority, the API server would trust a new one a minute before pods serve it.
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
        _made(values, "Issuer", self_signed, {"selfSigned": {}}),
        _made(values, "Certificate", authority, ca),
        _made(values, "Issuer", authority, {"ca": {"secretName": authority}}),
        _made(values, "Certificate", SERVER_CERT, leaf),
    ]


def _made(values: Values, kind: str, name: str, spec: dict[str, Any]) -> Object:
    return own(values, "cert-manager.io/v1", kind, name, spec=spec)
