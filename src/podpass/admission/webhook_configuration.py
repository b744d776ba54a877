"""How API servers come to ask the webhook, and what it may ask of them, for whoever writes it down.

Chart, manifests and `up`. Pure. Names and failure policy are the reference's, so that either can take the
other's place.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from podpass import names

NEW_PODS = {
    "apiGroups": [""],
    "apiVersions": ["v1"],
    "operations": ["CREATE"],
    "resources": ["pods"],
    "scope": "*",
}
_NAME_OF_NAMESPACE = "kubernetes.io/metadata.name"

# What it may do beside keeping its certificates: rules of a ClusterRole.
READS_ACCOUNTS = {
    "apiGroups": [""],
    "resources": ["serviceaccounts"],
    "verbs": ["get", "list", "watch"],
}
WRITES_EVENTS = {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]}


def mutation(client_config: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the entry that gives pods their identity: it fails closed, for labelled pods only.

    Shapes:  `client_config` leads to WEBHOOK_PATH, by service or URL.
    """
    return {
        "name": names.WEBHOOK_NAME,
        "admissionReviewVersions": ["v1", "v1beta1"],
        "clientConfig": dict(client_config),
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "objectSelector": {"matchLabels": {names.USE_LABEL: "true"}},
        "reinvocationPolicy": "IfNeeded",
        # The event on a refused pod's controller is one, and a dry run leaves it out.
        "sideEffects": "NoneOnDryRun",
        "timeoutSeconds": 10,
        "rules": [NEW_PODS],
    }


def advice(client_config: Mapping[str, Any], exempt: Sequence[str]) -> dict[str, Any]:
    """Describe the entry that only warns: of every other pod, and in nobody's way.

    Shapes:  `client_config` leads to ADVICE_PATH; `exempt` are namespaces in which it is never asked: the
             webhook's own, and the system's.
    """
    return {
        "name": names.ADVICE_WEBHOOK_NAME,
        "admissionReviewVersions": ["v1", "v1beta1"],
        "clientConfig": dict(client_config),
        "failurePolicy": "Ignore",
        "matchPolicy": "Equivalent",
        "namespaceSelector": elsewhere(exempt) if exempt else {},
        "objectSelector": {
            "matchExpressions": [{"key": names.USE_LABEL, "operator": "NotIn", "values": ["true"]}]
        },
        "reinvocationPolicy": "Never",
        "sideEffects": "None",
        # Every pod without the label waits for it, and none is worth waiting longer.
        "timeoutSeconds": 1,
        "rules": [NEW_PODS],
    }


def elsewhere(exempt: Sequence[str]) -> dict[str, Any]:
    """Select every namespace but these."""
    others = {"key": _NAME_OF_NAMESPACE, "operator": "NotIn", "values": list(exempt)}
    return {"matchExpressions": [others]}
