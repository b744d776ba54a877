"""Build the objects of the process: namespace, settings, Deployment, Service and NetworkPolicy."""

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
    build_namespaced_object,
    build_object,
)
from podpass.manifests.values import ManifestValues

_UID = 65532
_METRICS, _WEBHOOK, _HEALTH = 8095, 9443, 9440
_LEVELS = ("audit", "enforce", "warn")
# Namespaces of Kubernetes and the default namespace: podpass does not set their labels.
_SYSTEM_PREFIXES = ("default", "kube-")


def build_namespace(values: ManifestValues) -> list[Object]:
    """Build the namespace with Pod Security labels: restricted, or privileged if hostNetwork requires it."""
    if values.namespace.startswith(_SYSTEM_PREFIXES):
        return []
    level = "privileged" if values.host_network else "restricted"
    found = build_object("v1", "Namespace", values.namespace)
    for mode in _LEVELS:
        found["metadata"]["labels"][f"pod-security.kubernetes.io/{mode}"] = level
        found["metadata"]["labels"][f"pod-security.kubernetes.io/{mode}-version"] = "latest"
    return [found]


def build_settings(values: ManifestValues) -> list[Object]:
    """Build the ConfigMap, and an empty Secret for the webhook, which has no permission to create one."""
    found = [build_namespaced_object(values, "v1", "ConfigMap", CONFIG, data=_build_data(values))]
    return (
        found
        if values.cert_manager
        else [*found, build_namespaced_object(values, "v1", "Secret", SERVER_CERT)]
    )


def _build_data(values: ManifestValues) -> dict[str, str]:
    settings = {
        "AZURE_ENVIRONMENT": values.environment,
        "AZURE_KUBERNETES_CA_CONFIGMAP_NAME": values.ca_config_map,
        "AZURE_KUBERNETES_SNI_NAME": values.sni_name,
        "AZURE_KUBERNETES_TOKEN_PROXY": values.token_proxy,
        "AZURE_TENANT_ID": values.tenant_id,
        "LEGACY_TOKEN_PATH": "true" if values.legacy_token_path else "",
        "PROXY_IMAGE": values.proxy_image,
        "PROXY_INIT_IMAGE": values.proxy_init_image,
        "PROXY_INIT_PRIVILEGED": "" if values.proxy_init_privileged else "false",
        "PROXY_MODE": "" if values.proxy_mode == "iptables" else values.proxy_mode,
    }
    return {name: value for name, value in settings.items() if value}


def build_network(values: ManifestValues) -> list[Object]:
    """Build the Service, the PodDisruptionBudget, and the NetworkPolicy that opens the served ports."""
    port = {"port": 443, "protocol": "TCP", "targetPort": _WEBHOOK}
    spec = {"type": "ClusterIP", "selector": dict(SELECTOR), "ports": [port]}
    budget = {"minAvailable": 1, "selector": {"matchLabels": dict(SELECTOR)}}
    found = [
        build_namespaced_object(values, "v1", "Service", SERVICE, spec=spec),
        build_namespaced_object(
            values, "policy/v1", "PodDisruptionBudget", DEPLOYMENT, spec=budget
        ),
    ]
    if values.network_policy:
        version = "networking.k8s.io/v1"
        found.append(
            build_namespaced_object(
                values, version, "NetworkPolicy", DEPLOYMENT, spec=_open_ports()
            )
        )
    return found


def _open_ports() -> dict[str, Any]:
    """Open the ports to all clients: no selector matches the addresses of API server and nodes."""
    ports = [{"port": name, "protocol": "TCP"} for name in ("webhook-server", "healthz", "metrics")]
    return {
        "podSelector": {"matchLabels": dict(SELECTOR)},
        "policyTypes": ["Ingress"],
        "ingress": [{"ports": ports[:2]}, {"ports": ports[2:]}],
    }


def build_deployment(values: ManifestValues) -> Object:
    """Build the Deployment."""
    template = {
        "metadata": {
            "labels": dict(SELECTOR),
            "annotations": {"podpass/config": _compute_checksum(_build_data(values))},
        },
        "spec": _build_pod_spec(values),
    }
    spec = {
        "replicas": values.replicas,
        "selector": {"matchLabels": dict(SELECTOR)},
        "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": template,
    }
    return build_namespaced_object(values, "apps/v1", "Deployment", DEPLOYMENT, spec=spec)


def _compute_checksum(data: dict[str, str]) -> str:
    """Return the checksum of the settings as the chart computes it: a changed setting replaces the pods."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&":  # Helm escapes JSON for HTML
        text = text.replace(character, f"\\u{ord(character):04x}")
    return hashlib.sha256(text.encode()).hexdigest()


def _build_pod_spec(values: ManifestValues) -> dict[str, Any]:
    spread = {
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": dict(SELECTOR)},
    }
    topologies = ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    # The report of an internal error is written here, because the root file system is read-only.
    volumes: list[Object] = [{"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}}]
    if values.cert_manager:
        secret = {"secretName": CERT_MANAGER_SECRET, "defaultMode": 0o644}
        volumes.append({"name": "cert", "secret": secret})
    pod: dict[str, Any] = {
        "serviceAccountName": ACCOUNT,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "topologySpreadConstraints": [{**spread, "topologyKey": each} for each in topologies],
        "containers": [_build_container(values)],
        "volumes": volumes,
    }
    if values.priority_class:
        pod["priorityClassName"] = values.priority_class
    if values.host_network:
        pod |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
    return pod


def _build_container(values: ManifestValues) -> dict[str, Any]:
    namespace = {"fieldRef": {"fieldPath": "metadata.namespace"}}
    mounts: list[Object] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 the path of a mount
    if values.cert_manager:
        mounts.append({"name": "cert", "mountPath": "/certs", "readOnly": True})
    ports = (("metrics", _METRICS), ("webhook-server", _WEBHOOK), ("healthz", _HEALTH))
    return {
        "name": "manager",
        "image": values.image,
        "imagePullPolicy": values.image_pull_policy,
        "command": ["podpass", "webhook"],
        "args": list(_list_arguments(values)),
        "envFrom": [{"configMapRef": {"name": CONFIG}}],
        "env": [{"name": "POD_NAMESPACE", "valueFrom": namespace}],
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports],
        "livenessProbe": _build_probe(
            "/healthz", failureThreshold=6, initialDelaySeconds=15, periodSeconds=20
        ),
        "readinessProbe": _build_probe("/readyz", initialDelaySeconds=1, periodSeconds=5),
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


def _build_probe(path: str, **times: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "healthz"}, **times, "timeoutSeconds": 3}


def _list_arguments(values: ManifestValues) -> Iterator[str]:
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
