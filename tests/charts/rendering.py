"""Renders the chart with released Helm; typical sets of values."""

import functools
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.charts.schema import ChartFiles

CHART = Path(__file__).parents[2] / "charts" / "podpass"
FILES = ChartFiles(
    CHART,
    (
        "affinity.",
        "certManager.issuerRef.",
        "mutatingWebhookNamespaceSelector.",
        "resources.claims",
    ),
)
RELEASE = "workload-identity-webhook"
NAMESPACE = "azure-workload-identity-system"
TENANT = "11111111-2222-4333-8444-555555555555"
# Kinds of other projects, which have no schema in Kubernetes.
FOREIGN = {"Issuer", "Certificate", "PrometheusRule", "ServiceMonitor"}
OLDEST, NEWEST = "1.25", "1.37"

Object = dict[str, Any]
Values = dict[str, Any]

# All values of the reference's chart.
OF_THE_REFERENCE: Values = {
    "azureTenantID": TENANT,
    "azureEnvironment": "AzureUSGovernmentCloud",
    "replicaCount": 3,
    "image": {"pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "nodeSelector": {"kubernetes.io/os": "linux", "pool": "system"},
    "resources": {"limits": {"cpu": "200m", "memory": "200Mi"}, "requests": {"cpu": "100m"}},
    "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}
                ]
            }
        }
    },
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": RELEASE}},
        }
    ],
    "service": {"type": "ClusterIP", "port": 443, "targetPort": 9443},
    "logLevel": "debug",
    "metricsAddr": ":8096",
    "metricsBackend": "prometheus",
    "priorityClassName": "system-node-critical",
    "mutatingWebhookAnnotations": {"admissions.enforcer/disabled": "true"},
    "mutatingWebhookNamespaceSelector": {
        "matchLabels": {"team": "shop"},
        "matchExpressions": [{"key": "control-plane", "operator": "DoesNotExist"}],
    },
    "podLabels": {"team": "platform"},
    "podAnnotations": {"prometheus.io/scrape": "true"},
    "podDisruptionBudget": {"minAvailable": 0, "maxUnavailable": 1},
    "customTokenEndpoint": {
        "annotationSuffix": "identity-binding",
        "audience": "api://AKSIdentityBinding",
        "azureKubernetesTokenProxy": "https://kubernetes.default.svc",
        "azureKubernetesSniName": "abc.ests.aks",
        "azureKubernetesCAConfigMapName": "kube-root-ca.crt",
    },
    "extraEnv": [{"name": "PROXY_IMAGE", "value": "registry.example.com/proxy:1"}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "revisionHistoryLimit": 3,
    "nameOverride": "my-webhook",
}
# The largest numbers that Kubernetes accepts, except for replicas, which would be created; unusual
# quantities.
MOST: Values = {
    "revisionHistoryLimit": 2**31 - 1,
    "runAsUser": 2**31 - 1,
    "podDisruptionBudget": {"minAvailable": 0, "maxUnavailable": 2**31 - 1},
    "resources": {
        "requests": {"cpu": "1e-3", "memory": "1e8", "ephemeral-storage": "5000000000000n"},
        "limits": {"cpu": 1000000, "memory": "1Pi", "ephemeral-storage": "1E"},
    },
}
CERT_MANAGER: Values = {"certManager": {"enabled": True}}
SETS: dict[str, Values] = {
    "defaults": {},
    "the reference's": OF_THE_REFERENCE,
    "cert-manager": CERT_MANAGER,
    "cert-manager with an issuer": {
        "certManager": {"enabled": True, "issuerRef": {"kind": "ClusterIssuer", "name": "corp"}}
    },
    "a certificate of one's own": {
        "disableCertRotation": True,
        "certSecretName": "mine",
        "caBundle": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    },
    "a bundle by label": {
        "customTokenEndpoint": {
            "annotationSuffix": "x",
            "audience": "api://x",
            "azureKubernetesCACTBSignerName": "example.com/signer",
            "azureKubernetesCACTBLabelSelector": {"matchLabels": {"app": "<a & b>"}},
        }
    },
    "all that is more": {
        "audience": "api://AzureADTokenExchangeUSGov",
        "failurePolicy": "Ignore",
        "timeoutSeconds": 5,
        "tlsMinVersion": "1.2",
        "proxyImage": "registry.example.com/proxy:1",
        "proxyInitImage": "registry.example.com/proxy-init:1",
        "proxyMode": "env",
        "proxyInitPrivileged": False,
        "legacyTokenPath": True,
        "exemptNamespaces": ["kube-system", "gatekeeper-system"],
        "events": {"enabled": False},
        "advice": {"enabled": True, "timeoutSeconds": 1},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "docsURL": "https://docs.example.com",
        },
        "dashboards": {"enabled": True, "annotations": {"folder": "Azure"}},
        "networkPolicy": {
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
            "egress": [{"ports": [{"port": 443, "protocol": "TCP"}]}],
        },
        "hostNetwork": True,
        "runAsUser": None,
        "extraArgs": ["--version=false"],
        "image": {"digest": "sha256:" + "0" * 64},
        "service": {"port": 8443},
        "helmTest": {"namespace": "shop"},
        "podDisruptionBudget": {"minAvailable": "50%"},
    },
    "the most there can be": MOST,
    "nothing that can be left out": {
        "replicaCount": 1,
        "exemptNamespaces": [],
        "networkPolicy": {"enabled": False},
        "priorityClassName": "",
        "podDisruptionBudget": {"minAvailable": 0},
        "resources": {"limits": None, "requests": None},
        "nodeSelector": {"kubernetes.io/os": None},
        "logLevel": "",
    },
}


def read_objects(text: str) -> list[Object]:
    """Parse the objects of a chart, with libyaml: the dashboards have thousands of lines."""
    return [one for one in yaml.load_all(text, Loader=yaml.CSafeLoader) if one]


def _run(command: tuple[str, ...], values: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*command, "--values", "-"],
        input=values,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        # Helm ends before it needs to collect garbage often.
        env={"HOME": "/nonexistent", "GOGC": "400"},
    )


# Tests render the same chart with the same values often, and the chart does not change.
_run_once = functools.lru_cache(maxsize=256)(_run)


@dataclass(frozen=True)
class Helm:
    """The Helm program and a chart; `required` are the values without a default."""

    binary: str
    chart: Path = CHART
    release: str = RELEASE
    namespace: str = NAMESPACE
    required: Values = field(
        default_factory=lambda: {"azureTenantID": TENANT, "image": {"repository": "podpass"}}
    )

    def __call__(self, *arguments: str, values: Values | None = None) -> Any:
        return _run((self.binary, *arguments), json.dumps(self.with_required(values or {})))

    def with_required(self, values: Values) -> Values:
        """Return the values with those that the chart requires; `image` is merged."""
        image = values.get("image", {})
        if isinstance(image, dict):
            image = {**self.required.get("image", {}), **image}
        return {**self.required, **values, "image": image}

    def template(
        self, values: Values | None = None, *, name: str | None = None, namespace: str | None = None
    ) -> Any:
        place = ("--namespace", namespace or self.namespace)
        command = (self.binary, "template", name or self.release, str(self.chart), *place)
        return _run_once(command, json.dumps(self.with_required(values or {})))

    def render(
        self, values: Values | None = None, *, name: str | None = None, namespace: str | None = None
    ) -> list[Object]:
        done = self.template(values, name=name, namespace=namespace)
        assert done.returncode == 0, done.stderr
        return read_objects(done.stdout)

    def refusal(self, values: Values, *, name: str | None = None) -> str:
        done = self.template(values, name=name)
        assert done.returncode == 1, done.stdout
        said: str = done.stderr
        return said

    def lint(self, values: Values) -> str:
        done = self("lint", "--strict", str(self.chart), values=values)
        assert done.returncode == 0, done.stdout
        said: str = done.stdout + done.stderr
        return said


def find(objects: list[Object], kind: str, name: str | None = None) -> Object:
    found = [
        one for one in objects if one["kind"] == kind and name in (None, one["metadata"]["name"])
    ]
    assert len(found) == 1, (kind, name, [one["metadata"]["name"] for one in found])
    return found[0]


def container(objects: list[Object]) -> Object:
    (only,) = find(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only
