"""The objects that the reference's chart 1.6.0 renders with its defaults, as literals."""

from tests.charts.rendering import NAMESPACE, RELEASE, TENANT, Object

# The chart's name and the release's: the selector of its Deployment, which cannot change.
SELECTOR = {
    "app": "workload-identity-webhook",
    "azure-workload-identity.io/system": "true",
    "chart": "workload-identity-webhook",
    "release": RELEASE,
}
_RBAC = "rbac.authorization.k8s.io"


def _object(version: str, kind: str, name: str, *, whole: bool = False, **rest: object) -> Object:
    place = {} if whole else {"namespace": NAMESPACE}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": f"azure-wi-webhook-{name}", **place, "labels": dict(SELECTOR)},
        **rest,
    }


def _role_ref(kind: str) -> Object:
    return {"apiGroup": _RBAC, "kind": kind, "name": "azure-wi-webhook-manager-role"}


_SUBJECT = {"kind": "ServiceAccount", "name": "azure-wi-webhook-admin", "namespace": NAMESPACE}
_ALL = ["create", "delete", "get", "list", "patch", "update", "watch"]
_WATCHES = ["get", "list", "watch"]


def _probe(path: str, **times: int) -> Object:
    return {"httpGet": {"path": path, "port": "healthz"}, **times}


CONTAINER: Object = {
    "name": "manager",
    "image": "mcr.microsoft.com/oss/azure/workload-identity/webhook:v1.6.0",
    "imagePullPolicy": "IfNotPresent",
    "command": ["/manager"],
    "args": ["--log-level=info", "--metrics-addr=:8095", "--metrics-backend=prometheus"],
    "env": [
        {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}
    ],
    "envFrom": [{"configMapRef": {"name": "azure-wi-webhook-config"}}],
    "ports": [
        {"containerPort": 8095, "name": "metrics", "protocol": "TCP"},
        {"containerPort": 9443, "name": "webhook-server", "protocol": "TCP"},
        {"containerPort": 9440, "name": "healthz", "protocol": "TCP"},
    ],
    "livenessProbe": _probe(
        "/healthz", failureThreshold=6, initialDelaySeconds=15, periodSeconds=20
    ),
    "readinessProbe": _probe("/readyz", initialDelaySeconds=5, periodSeconds=5),
    "resources": {
        "limits": {"cpu": "100m", "memory": "30Mi"},
        "requests": {"cpu": "100m", "memory": "20Mi"},
    },
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "volumeMounts": [{"name": "cert", "mountPath": "/certs", "readOnly": True}],
}
WEBHOOK: Object = {
    "name": "mutation.azure-workload-identity.io",
    "admissionReviewVersions": ["v1", "v1beta1"],
    "failurePolicy": "Fail",
    "matchPolicy": "Equivalent",
    "reinvocationPolicy": "IfNeeded",
    "objectSelector": {"matchLabels": {"azure.workload.identity/use": "true"}},
    "sideEffects": "None",
    "namespaceSelector": {},
    "clientConfig": {
        "service": {
            "name": "azure-wi-webhook-webhook-service",
            "namespace": NAMESPACE,
            "path": "/mutate-v1-pod",
        }
    },
    "rules": [
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    ],
}
_DEPLOYMENT: Object = {
    "replicas": 2,
    "selector": {"matchLabels": SELECTOR},
    "template": {
        "metadata": {"labels": SELECTOR},
        "spec": {
            "serviceAccountName": "azure-wi-webhook-admin",
            "priorityClassName": "system-cluster-critical",
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "containers": [CONTAINER],
            "volumes": [
                {
                    "name": "cert",
                    "secret": {"secretName": "azure-wi-webhook-server-cert", "defaultMode": 420},
                }
            ],
        },
    },
}
RULES = {
    "Role": [{"apiGroups": [""], "resources": ["secrets"], "verbs": _ALL}],
    "ClusterRole": [
        {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": _WATCHES},
        {
            "apiGroups": ["admissionregistration.k8s.io"],
            "resources": ["mutatingwebhookconfigurations"],
            "verbs": ["get", "list", "update", "watch"],
        },
    ],
}
OBJECTS = [
    _object("v1", "ServiceAccount", "admin"),
    _object(f"{_RBAC}/v1", "Role", "manager-role", rules=RULES["Role"]),
    _object(
        f"{_RBAC}/v1",
        "RoleBinding",
        "manager-rolebinding",
        roleRef=_role_ref("Role"),
        subjects=[_SUBJECT],
    ),
    _object(f"{_RBAC}/v1", "ClusterRole", "manager-role", whole=True, rules=RULES["ClusterRole"]),
    _object(
        f"{_RBAC}/v1",
        "ClusterRoleBinding",
        "manager-rolebinding",
        whole=True,
        roleRef=_role_ref("ClusterRole"),
        subjects=[_SUBJECT],
    ),
    _object(
        "v1",
        "ConfigMap",
        "config",
        data={"AZURE_ENVIRONMENT": "AzurePublicCloud", "AZURE_TENANT_ID": TENANT},
    ),
    _object("v1", "Secret", "server-cert"),
    _object(
        "v1",
        "Service",
        "webhook-service",
        spec={
            "type": "ClusterIP",
            "selector": SELECTOR,
            "ports": [{"port": 443, "targetPort": 9443}],
        },
    ),
    _object("apps/v1", "Deployment", "controller-manager", spec=_DEPLOYMENT),
    _object(
        "policy/v1",
        "PodDisruptionBudget",
        "controller-manager",
        spec={"selector": {"matchLabels": SELECTOR}, "minAvailable": 1},
    ),
    _object(
        "admissionregistration.k8s.io/v1",
        "MutatingWebhookConfiguration",
        "mutating-webhook-configuration",
        whole=True,
        webhooks=[WEBHOOK],
    ),
]
