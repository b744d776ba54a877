"""The process in its cluster: settings, pods, what leads to them and what may."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from podpass.manifests.meta import (
    ACCOUNT,
    CERT_MANAGER_SECRET,
    CONFIG,
    DEPLOYMENT,
    SELECTOR,
    SERVER_CERT,
    SERVICE,
    Object,
    own,
    write,
)
from podpass.manifests.values import Values

_UID = 65532
_METRICS, _WEBHOOK, _HEALTH = 8095, 9443, 9440
_LEVELS = ("audit", "enforce", "warn")
# What Kubernetes made, or everybody uses: its labels are not ours to write.
_NOT_OURS = ("default", "kube-")


def namespace(values: Values) -> list[Object]:
    """Write the namespace, closed to pods that could harm the node; ports of the node need it open."""
    if values.namespace.startswith(_NOT_OURS):
        return []
    level = "privileged" if values.host_network else "restricted"
    found = write("v1", "Namespace", values.namespace)
    for mode in _LEVELS:
        found["metadata"]["labels"][f"pod-security.kubernetes.io/{mode}"] = level
        found["metadata"]["labels"][f"pod-security.kubernetes.io/{mode}-version"] = "latest"
    return [found]


def settings(values: Values) -> list[Object]:
    """Write the ConfigMap, and the Secret that the webhook fills: it may not create one."""
    found = [own(values, "v1", "ConfigMap", CONFIG, data=_data(values))]
    return found if values.cert_manager else [*found, own(values, "v1", "Secret", SERVER_CERT)]


def _data(values: Values) -> dict[str, str]:
    told = {
        "AZURE_ENVIRONMENT": values.environment,
        "AZURE_KUBERNETES_CA_CONFIGMAP_NAME": values.ca_config_map,
        "AZURE_KUBERNETES_SNI_NAME": values.sni_name,
        "AZURE_KUBERNETES_TOKEN_PROXY": values.token_proxy,
        "AZURE_TENANT_ID": values.tenant_id,
        "PROXY_IMAGE": values.proxy_image,
        "PROXY_INIT_IMAGE": values.proxy_init_image,
    }
    return {name: value for name, value in told.items() if value}


def network(values: Values) -> list[Object]:
    """Write the Service, the budget, and the policy that opens what is served."""
    port = {"port": 443, "protocol": "TCP", "targetPort": _WEBHOOK}
    spec = {"type": "ClusterIP", "selector": dict(SELECTOR), "ports": [port]}
    budget = {"minAvailable": 1, "selector": {"matchLabels": dict(SELECTOR)}}
    found = [
        own(values, "v1", "Service", SERVICE, spec=spec),
        own(values, "policy/v1", "PodDisruptionBudget", DEPLOYMENT, spec=budget),
    ]
    if values.network_policy:
        version = "networking.k8s.io/v1"
        found.append(own(values, version, "NetworkPolicy", DEPLOYMENT, spec=_open_ports()))
    return found


def _open_ports() -> dict[str, Any]:
    """Open both ports to anyone: the API server's address and the nodes' fit no selector."""
    ports = [{"port": name, "protocol": "TCP"} for name in ("webhook-server", "healthz", "metrics")]
    return {
        "podSelector": {"matchLabels": dict(SELECTOR)},
        "policyTypes": ["Ingress"],
        "ingress": [{"ports": ports[:2]}, {"ports": ports[2:]}],
    }


def deployment(values: Values) -> Object:
    """Write the Deployment."""
    template = {
        "metadata": {
            "labels": dict(SELECTOR),
            "annotations": {"podpass/config": _checksum(_data(values))},
        },
        "spec": _pod(values),
    }
    spec = {
        "replicas": values.replicas,
        "selector": {"matchLabels": dict(SELECTOR)},
        "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": template,
    }
    return own(values, "apps/v1", "Deployment", DEPLOYMENT, spec=spec)


def _checksum(data: dict[str, str]) -> str:
    """Sum the settings as the chart does: a changed one starts new pods."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for sign in "<>&":  # Helm writes JSON that could stand in HTML
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return hashlib.sha256(text.encode()).hexdigest()


def _pod(values: Values) -> dict[str, Any]:
    spread = {
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": dict(SELECTOR)},
    }
    places = ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    # For the report of an error that nobody thought of; the root cannot be written.
    volumes: list[Object] = [{"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}}]
    if values.cert_manager:
        secret = {"secretName": CERT_MANAGER_SECRET, "defaultMode": 0o644}
        volumes.append({"name": "cert", "secret": secret})
    pod: dict[str, Any] = {
        "serviceAccountName": ACCOUNT,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "topologySpreadConstraints": [{**spread, "topologyKey": place} for place in places],
        "containers": [_container(values)],
        "volumes": volumes,
    }
    if values.priority_class:
        pod["priorityClassName"] = values.priority_class
    if values.host_network:
        pod |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
    return pod


def _container(values: Values) -> dict[str, Any]:
    namespace = {"fieldRef": {"fieldPath": "metadata.namespace"}}
    mounts: list[Object] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 a mount's path
    if values.cert_manager:
        mounts.append({"name": "cert", "mountPath": "/certs", "readOnly": True})
    ports = (("metrics", _METRICS), ("webhook-server", _WEBHOOK), ("healthz", _HEALTH))
    return {
        "name": "manager",
        "image": values.image,
        "imagePullPolicy": values.image_pull_policy,
        "command": ["podpass", "webhook"],
        "args": list(_arguments(values)),
        "envFrom": [{"configMapRef": {"name": CONFIG}}],
        "env": [{"name": "POD_NAMESPACE", "valueFrom": namespace}],
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports],
        "livenessProbe": _probe(
            "/healthz", failureThreshold=6, initialDelaySeconds=15, periodSeconds=20
        ),
        "readinessProbe": _probe("/readyz", initialDelaySeconds=1, periodSeconds=5),
        "resources": {
            "requests": {"cpu": "100m", "memory": "64Mi"},
            "limits": {"memory": "160Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsUser": _UID,
            "runAsGroup": _UID,
        },
        "volumeMounts": mounts,
    }


def _probe(path: str, **times: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "healthz"}, **times, "timeoutSeconds": 3}


def _arguments(values: Values) -> Iterator[str]:
    yield f"--log-level={values.log_level}"
    yield f"--metrics-addr=:{_METRICS}"
    yield "--metrics-backend=prometheus"
    for flag, value in (
        ("--audience", values.audience),
        ("--tls-min-version", values.tls_min_version),
    ):
        if value:
            yield f"{flag}={value}"
    if not values.events:
        yield "--refusal-events=false"
    if values.cert_manager:
        yield "--disable-cert-rotation=true"
        yield "--webhook-cert-dir=/certs"
    for flag, value in (
        ("--custom-token-endpoint-annotation-suffix", values.custom_suffix),
        ("--custom-token-endpoint-audience", values.custom_audience),
    ):
        if value:
            yield f"{flag}={value}"
