"""Build the objects of the chart `podpass-cloud`: one pod behind one Service. A test compares both. Pure."""

import hashlib
from dataclasses import dataclass
from typing import Any

from podpass import __version__
from podpass.lab.install import azurite
from podpass.lab.install.object_names import NAME, NAMESPACE, PORT, SELECTOR
from podpass.lab.names.injection import BundleNames
from podpass.lab.names.trust_objects import WEBHOOK_PATH, build_configuration, build_rules

Object = dict[str, Any]

IDENTITY_SECRET = "podpass-cloud-identity"  # noqa: S105 a name
SEED = "podpass-cloud-seed"
# Every object of an installation has this label; `uninstall` deletes nothing without it.
OWNER_LABELS = {"app.kubernetes.io/part-of": "podpass-cloud"}
LABELS = {**OWNER_LABELS, **SELECTOR, "app.kubernetes.io/version": __version__}
SEED_KEY = "seed.yaml"
HEALTH_PORT, DNS_PORT, WEBHOOK_PORT = 8095, 5353, 9443
DATA_DIR = "/var/lib/podpass/cloud"

_UID = 65532
_RBAC = "rbac.authorization.k8s.io"
_LEVELS = ("audit", "enforce", "warn")
_SECURITY: Object = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudValues:
    """The values of an installation, with the chart's meaning.

    `claim` names an existing PersistentVolumeClaim; without one, the data ends with the pod. With
    `dns_upstream`, the address of the cluster's DNS, pods ask the cloud's resolver first. With
    `azurite_image`, the cloud serves storage accounts: those of the seed. `pull_secret` names a Secret with
    the credentials of the image's registry.
    """

    image: str
    namespace: str = NAMESPACE
    pull_policy: str = ""
    seed: str = ""
    claim: str = ""
    propagation_seconds: int = 0
    all_namespaces: bool = False
    tenant_id: str = ""
    dns_upstream: str = ""
    azurite_image: str = ""
    pull_secret: str = ""


def build_objects(values: CloudValues) -> list[Object]:
    """Build the objects in the order in which they are applied."""
    return [
        _build_namespace(values),
        _build(values, "v1", "ServiceAccount", NAME, **_build_account(values)),
        _build(values, f"{_RBAC}/v1", "Role", NAME, rules=_build_rules()),
        _build(values, f"{_RBAC}/v1", "RoleBinding", NAME, **_bind(values)),
        _build_cluster_wide("ClusterRole", rules=build_rules(BundleNames())),
        _build_cluster_wide("ClusterRoleBinding", **_bind(values, "ClusterRole")),
        _build(values, "v1", "Secret", IDENTITY_SECRET, type="Opaque"),
        _build(values, "v1", "ConfigMap", SEED, data={SEED_KEY: values.seed}),
        _build(values, "v1", "Service", NAME, spec=_build_service()),
        build_registration(values),
        _build(values, "apps/v1", "Deployment", NAME, spec=_build_deployment(values)),
    ]


def _build(values: CloudValues, version: str, kind: str, name: str, **rest: Any) -> Object:
    metadata = {"name": name, "namespace": values.namespace, "labels": dict(LABELS)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


def _build_namespace(values: CloudValues) -> Object:
    labels = {f"pod-security.kubernetes.io/{level}": "restricted" for level in _LEVELS}
    metadata = {"name": values.namespace, "labels": {**LABELS, **labels}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _build_account(values: CloudValues) -> Object:
    return {"automountServiceAccountToken": False, **build_pull_secrets(values)}


def build_pull_secrets(values: CloudValues) -> Object:
    """Build the field of a ServiceAccount that names the pull secret, if there is one."""
    return {"imagePullSecrets": [{"name": values.pull_secret}]} if values.pull_secret else {}


def _build_rules() -> list[Object]:
    """Allow the pod to read and fill its own Secret, and nothing else; it cannot create one."""
    return [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": [IDENTITY_SECRET],
            "verbs": ["get", "update"],
        },
        {"apiGroups": [""], "resources": ["services"], "resourceNames": [NAME], "verbs": ["get"]},
    ]


def build_registration(values: CloudValues) -> Object:
    """Build the registration of the trust webhook; the pod writes its caBundle."""
    service = {
        "name": NAME,
        "namespace": values.namespace,
        "path": WEBHOOK_PATH,
        "port": WEBHOOK_PORT,
    }
    return build_configuration(
        {"service": service}, values.namespace, all_namespaces=values.all_namespaces, labels=LABELS
    )


def _build_cluster_wide(kind: str, **rest: Any) -> Object:
    metadata = {"name": NAME, "labels": dict(LABELS)}
    return {"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": metadata, **rest}


def _bind(values: CloudValues, kind: str = "Role") -> Object:
    account = {"kind": "ServiceAccount", "name": NAME, "namespace": values.namespace}
    return {"roleRef": {"apiGroup": _RBAC, "kind": kind, "name": NAME}, "subjects": [account]}


def _build_service() -> Object:
    ports = [
        {"name": "https", "port": 443, "protocol": "TCP", "targetPort": "https"},
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": "dns"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": "dns-tcp"},
        {"name": "webhook", "port": WEBHOOK_PORT, "protocol": "TCP", "targetPort": "webhook"},
    ]
    # A kubelet that restarts reports each pod as not ready until it has probed it. There is no other pod.
    return {
        "type": "ClusterIP",
        "selector": dict(SELECTOR),
        "ports": ports,
        "publishNotReadyAddresses": True,
    }


def _build_deployment(values: CloudValues) -> Object:
    template = {
        "metadata": {
            "labels": {**OWNER_LABELS, **SELECTOR},
            # A changed seed replaces the pod, which applies it.
            "annotations": {"podpass/seed": hashlib.sha256(values.seed.encode()).hexdigest()},
        },
        "spec": _build_pod(values),
    }
    return {
        "replicas": 1,
        "selector": {"matchLabels": dict(SELECTOR)},
        # Two pods would have two databases.
        "strategy": {"type": "Recreate"},
        "template": template,
    }


def _build_pod(values: CloudValues) -> Object:
    return {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 15,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _UID,
            "runAsGroup": _UID,
            "fsGroup": _UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": _build_containers(values),
        "volumes": [
            _build_data_volume(values),
            {"name": "seed", "configMap": {"name": SEED}},
            {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
            *(azurite.build_volumes(values.claim) if values.azurite_image else ()),
        ],
    }


def _build_data_volume(values: CloudValues) -> Object:
    if values.claim:
        return {"name": "data", "persistentVolumeClaim": {"claimName": values.claim}}
    # In memory, so that the CA's key is on no disk but that of the Secret.
    return {"name": "data", "emptyDir": {"medium": "Memory", "sizeLimit": "128Mi"}}


def _build_containers(values: CloudValues) -> list[Object]:
    containers = [_build_container(values)]
    if values.azurite_image:
        containers.append(
            azurite.build_container(values.azurite_image, values.seed, values.claim, _SECURITY)
        )
    for each in containers:
        each |= {"imagePullPolicy": values.pull_policy} if values.pull_policy else {}
    return containers


def _build_container(values: CloudValues) -> Object:
    def probe(path: str, **more: int) -> Object:
        return {"httpGet": {"path": path, "port": "health"}, **more}

    command = ["podpass", "cloud", "serve", "--seed", f"/etc/podpass/seed/{SEED_KEY}"]
    command += ["--data-dir", DATA_DIR, "--identity-secret", IDENTITY_SECRET]
    command += ["--service", NAME]
    container: Object = {
        "name": "cloud",
        "image": values.image,
        "command": command,
        "env": [
            # `kubectl exec` finds the running cloud by it.
            {"name": "PODPASS_DATA_DIR", "value": DATA_DIR},
            {"name": "PODPASS_PROPAGATION_DELAY", "value": str(values.propagation_seconds)},
            # glibc returns larger blocks to the system at once: each hash of a password needs 16 MiB.
            {"name": "MALLOC_MMAP_THRESHOLD_", "value": "1048576"},
        ],
        "ports": [
            {"name": "https", "containerPort": PORT},
            {"name": "health", "containerPort": HEALTH_PORT},
            {"name": "dns", "containerPort": DNS_PORT, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": DNS_PORT, "protocol": "TCP"},
            {"name": "webhook", "containerPort": WEBHOOK_PORT},
        ],
        "startupProbe": probe("/readyz", periodSeconds=1, failureThreshold=120),
        "readinessProbe": probe("/readyz", periodSeconds=5),
        "livenessProbe": probe("/healthz", periodSeconds=10, timeoutSeconds=5),
        "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "384Mi"}},
        "securityContext": dict(_SECURITY),
        "volumeMounts": [
            {"name": "data", "mountPath": "/var/lib/podpass"},
            {"name": "seed", "mountPath": "/etc/podpass/seed", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 a path in the container
        ],
    }
    if values.tenant_id:
        container["env"].append({"name": "PODPASS_CLOUD_TENANT_ID", "value": values.tenant_id})
    if values.dns_upstream:
        upstream = {"name": "PODPASS_CLOUD_DNS_UPSTREAM", "value": values.dns_upstream}
        container["env"].append(upstream)
    if values.azurite_image:
        container["env"].append({"name": "PODPASS_AZURITE", "value": azurite.ORIGIN})
        container["env"] += azurite.build_accounts(values.seed)
    return container
