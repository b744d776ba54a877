"""Build the entries of the MutatingWebhookConfiguration and the webhook's RBAC rules. Pure.

The chart, `podpass manifests` and `podpass up` use them. Names and failure policy are those of
azure-workload-identity, so that either can replace the other.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from podpass import names

POD_CREATE_RULE = {
    "apiGroups": [""],
    "apiVersions": ["v1"],
    "operations": ["CREATE"],
    "resources": ["pods"],
    "scope": "*",
}
_WORKLOAD_RULES = tuple(
    {
        "apiGroups": [group],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": [*resources],
        "scope": "*",
    }
    for group, resources in (
        ("apps", ("deployments", "statefulsets", "daemonsets")),
        ("batch", ("jobs", "cronjobs")),
    )
)
_NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"

# ClusterRole rules of the webhook, without those for its certificates.
READ_ACCOUNTS_RULE = {
    "apiGroups": [""],
    "resources": ["serviceaccounts"],
    "verbs": ["get", "list", "watch"],
}
WRITE_EVENTS_RULE = {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]}


def build_mutation_entry(client_config: Mapping[str, Any]) -> dict[str, Any]:
    """Build the entry that gives pods their identity: for labelled pods only, with failurePolicy Fail.

    `client_config` is the Service or URL of WEBHOOK_PATH.
    """
    return {
        "name": names.WEBHOOK_NAME,
        "admissionReviewVersions": ["v1", "v1beta1"],
        "clientConfig": dict(client_config),
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "objectSelector": {"matchLabels": {names.USE_LABEL: "true"}},
        "reinvocationPolicy": "IfNeeded",
        # The Event on the controller of a refused pod is a side effect; a dry run writes none.
        "sideEffects": "NoneOnDryRun",
        "timeoutSeconds": 10,
        "rules": [POD_CREATE_RULE],
    }


def build_advice_entry(client_config: Mapping[str, Any], exempt: Sequence[str]) -> dict[str, Any]:
    """Build the entry that only warns, for all pods without the label, with failurePolicy Ignore.

    `client_config` is the Service or URL of ADVICE_PATH; `exempt` lists the namespaces in which the API
    server does not call it: the webhook's own namespace and the system's.
    """
    return {
        "name": names.ADVICE_WEBHOOK_NAME,
        "admissionReviewVersions": ["v1", "v1beta1"],
        "clientConfig": dict(client_config),
        "failurePolicy": "Ignore",
        "matchPolicy": "Equivalent",
        "namespaceSelector": exclude_namespaces(exempt) if exempt else {},
        "objectSelector": {
            "matchExpressions": [{"key": names.USE_LABEL, "operator": "NotIn", "values": ["true"]}]
        },
        "reinvocationPolicy": "Never",
        "sideEffects": "None",
        # Every pod without the label waits for this entry, so the timeout is the shortest possible.
        "timeoutSeconds": 1,
        "rules": [POD_CREATE_RULE],
    }


def build_workload_advice_entry(
    client_config: Mapping[str, Any], exempt: Sequence[str]
) -> dict[str, Any]:
    """Build the entry that warns about the pod template of a workload, with failurePolicy Ignore.

    A controller creates the pods of a workload, so a warning about such a pod reaches no user.

    `client_config` is the Service or URL of WORKLOAD_ADVICE_PATH; `exempt` as for the other entry.
    """
    entry = build_advice_entry(client_config, exempt)
    # The label belongs on the template: a label of the workload itself has no effect and selects nothing.
    del entry["objectSelector"]
    return {**entry, "name": names.WORKLOAD_ADVICE_WEBHOOK_NAME, "rules": [*_WORKLOAD_RULES]}


def exclude_namespaces(exempt: Sequence[str]) -> dict[str, Any]:
    """Build a selector for all namespaces but these."""
    others = {"key": _NAMESPACE_NAME_LABEL, "operator": "NotIn", "values": list(exempt)}
    return {"matchExpressions": [others]}
