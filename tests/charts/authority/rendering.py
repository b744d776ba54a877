"""Renders the token service's chart; sets of values that together contain every value."""

from dataclasses import dataclass, field
from pathlib import Path

from tests.charts.rendering import MOST, Helm, Values
from tests.charts.schema import ChartFiles

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "podpass-authority"
FILES = ChartFiles(CHART, ("affinity.", "settings.", "resources.claims"))
DEPLOY = ROOT / "deploy"
NAME = "podpass-authority"
NAMESPACE = "podpass"
ORIGIN = "https://login.corp.example"
TENANT = "11111111-2222-4333-8444-555555555555"
OLDEST, NEWEST = "1.29", "1.37"

EVERYTHING: Values = {
    "origin": f"{ORIGIN},https://login.corp.example:8443",
    "image": {
        "repository": "registry.example.com/podpass",
        "digest": "sha256:" + "0" * 64,
        "pullPolicy": "Always",
    },
    "imagePullSecrets": [{"name": "registry"}],
    "replicaCount": 5,
    "workers": 4,
    "databaseSecret": "database",
    "sealingKeySecret": "sealing",
    "tlsSecret": "certificate",
    "cluster": {
        "issuer": "https://issuer.example.com/",
        "server": "https://10.96.0.1",
        "caConfigMap": "ca-of-the-cluster",
    },
    "settings": {
        "PODPASS_AUTHORITY_ROTATION_SECONDS": 7776000,
        "PODPASS_AUTHORITY_CLIENT_RATE": 0.5,
        "PODPASS_AUTHORITY_CONNECTIONS": 2000000,
        "PODPASS_AUTHORITY_UNIFORM_REFUSALS": True,
        "PODPASS_AUTHORITY_PRIVATE_ISSUER": ["kubernetes.default.svc", "10.20.0.0/16"],
        "PODPASS_AUTHORITY_ISSUER_CA_FILE": "/more/ca.crt",
        "PODPASS_AUTHORITY_LOG_LEVEL": "debug",
        "PODPASS_AUTHORITY_LISTEN": "[::]:8443",
    },
    "admin": {
        "enabled": True,
        "origin": "https://admin.corp.example",
        "port": 9444,
        "from": [{"ipBlock": {"cidr": "10.0.0.0/28"}}],
    },
    "service": {
        "type": "LoadBalancer",
        "port": 8443,
        "annotations": {"lb.example.com/internal": "true"},
        "externalTrafficPolicy": "Local",
    },
    "requireDatabase": True,
    "shutdownDelaySeconds": 30,
    "drainSeconds": 60,
    "podDisruptionBudget": {"minAvailable": "50%", "maxUnavailable": None},
    "networkPolicy": {
        "clientsFrom": [{"namespaceSelector": {}}],
        "metricsNamespace": "observability",
        "databasePort": 6432,
        "issuerPorts": [8443],
        "egress": [{"ports": [{"port": 4443, "protocol": "TCP"}]}],
    },
    "resources": {"requests": {"cpu": "4"}, "limits": {"memory": "1Gi"}},
    "priorityClassName": "system-cluster-critical",
    "nodeSelector": {"pool": "system"},
    "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}],
    "affinity": {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": {"app.kubernetes.io/name": NAME}},
                }
            ]
        }
    },
    "topologySpreadConstraints": [
        {
            "maxSkew": 2,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app.kubernetes.io/name": NAME}},
        }
    ],
    "podLabels": {"team": "platform", "app.kubernetes.io/name": "mine"},
    "podAnnotations": {"example.com/a": "b"},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "interval": "15s"},
    "prometheusRule": {
        "enabled": True,
        "labels": {"release": "prometheus"},
        "docsURL": "https://docs.example.com",
    },
    "dashboards": {"enabled": True, "labels": {"dash": "1"}, "annotations": {"folder": "Azure"}},
    "extraEnv": [{"name": "PODPASS_DEBUG", "value": "1"}],
    "extraVolumes": [{"name": "more", "configMap": {"name": "kube-root-ca.crt"}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more", "readOnly": True}],
    "runAsUser": 1000,
    "revisionHistoryLimit": 3,
    "seed": {
        "identities": [
            {
                "name": "ops",
                "kind": "application",
                "federated_credentials": [
                    {
                        "name": "ops",
                        "issuer": "cluster",
                        "subject": "system:serviceaccount:ops:admin",
                        "audiences": ["api://my-authority"],
                    }
                ],
            }
        ],
        "resources": [
            {
                "name": "ledger",
                "application_id": "5A0C6D6E-0000-4000-8000-00000000ABCD",
                "uris": ["https://ledger.corp.example", "api://ledger"],
                "permissions": ["Entries.Read"],
            }
        ],
        "administrators": ["ops"],
        "clusterIssuer": "https://issuer.example.com/",
    },
}
SETS: dict[str, Values] = {
    "defaults": {},
    "everything": EVERYTHING,
    "a user that the cluster chooses": {"runAsUser": None, "nameOverride": "tokens"},
    "the most there can be": MOST,
    "nothing that can be left out": {
        "replicaCount": 1,
        "podDisruptionBudget": {"maxUnavailable": 0},
        "networkPolicy": {"enabled": False},
        "resources": {"limits": None, "requests": None},
        "podAnnotations": {"prometheus.io/scrape": None, "prometheus.io/port": None},
        "shutdownDelaySeconds": 0,
    },
    "a policy without peers": {
        "networkPolicy": {"metricsNamespace": "", "issuerPorts": []},
        "admin": {"enabled": True},
    },
}


@dataclass(frozen=True)
class AuthorityChart(Helm):
    """The Helm program and this chart."""

    chart: Path = CHART
    release: str = NAME
    namespace: str = NAMESPACE
    required: Values = field(
        default_factory=lambda: {
            "origin": ORIGIN,
            "tenantID": TENANT,
            "image": {"repository": "podpass"},
        }
    )
