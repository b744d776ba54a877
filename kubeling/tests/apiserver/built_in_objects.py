"""A small valid object of every built-in kind: what its schema requires, or what validation requires."""

import copy
from typing import Any

from kubeling.apiserver import schema
from kubeling.apiserver.kinds import Kind

_LABELS = {"app": "web"}
_POD_SPEC = {"containers": [{"name": "c", "image": "app:1"}]}
_TEMPLATE = {"metadata": {"labels": _LABELS}, "spec": _POD_SPEC}
_JOB = {"template": {"spec": {**_POD_SPEC, "restartPolicy": "Never"}}}
_SELECTED = {"selector": {"matchLabels": _LABELS}, "template": _TEMPLATE}
_TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
_RULE = {
    "apiGroups": [""],
    "apiVersions": ["v1"],
    "operations": ["CREATE"],
    "resources": ["pods"],
}
_MATCH = {"resourceRules": [{**_RULE}]}
_WEBHOOK = {
    "name": "a.example.com",
    "clientConfig": {"url": "https://127.0.0.1:1/"},
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
}
_EXPRESSION = 'Object{metadata: Object.metadata{labels: {"a": "b"}}}'
# A certificate request for CN=x, made with openssl.
_REQUEST = (
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIRk1HNENBUUF3RERFS01BZ0dBMVVFQXd3QmVEQlpN"
    "Qk1HQnlxR1NNNDlBZ0VHQ0NxR1NNNDlBd0VIQTBJQQpCTnNwT3p5WXRVZUovbGJFNU5tSTNvaU8zWlkyV2xmK1BCRzhN"
    "b3ZYai8rdGRhaXp2WXJmZWhOQndGMksxZ1ZECng1dmdLdEwvU1c0SzhLVlRIampKUVVHZ0FEQUtCZ2dxaGtqT1BRUURB"
    "Z05IQURCRUFpQmJSZXQzTk5pSWZ1ZTMKQTR5TXBValZRSkZyQjV3ZUJ5VVYwT1djZXJLTEhBSWdKOGd4NGtnYzd6REtk"
    "eCt3NWpvR1R1ZGYwZWNqbWZRbQo5bDJvODlPajFiWT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg=="
)
_CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBbjCCARWgAwIBAgIUDopKPZtAwLi9xmk8RZVtd+9GuRMwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBeDAgFw0yNjEyMDEyMzI2MjFaGA8yMTI2MTEwNzIzMjYyMVow
DDEKMAgGA1UEAwwBeDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNspOzyYtUeJ
/lbE5NmI3oiO3ZY2Wlf+PBG8MovXj/+tdaizvYrfehNBwF2K1gVDx5vgKtL/SW4K
8KVTHjjJQUGjUzBRMB0GA1UdDgQWBBSRoGjigwBzRKJ+eVSA9QIYDTH8mDAfBgNV
HSMEGDAWgBSRoGjigwBzRKJ+eVSA9QIYDTH8mDAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0cAMEQCIAzoB8mVIlZAWOlslA7s84nvr4QA1uV7/QmTMHdC4pcy
AiBVzETYzOp4YjZP4kbuxg69dg88dxc0VIESuwBRkR4rAA==
-----END CERTIFICATE-----
"""
BODIES: dict[str, Any] = {
    "APIService": {
        "metadata": {"name": "v1.metrics.example.com"},
        "spec": {
            "group": "metrics.example.com",
            "version": "v1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"namespace": "default", "name": "metrics"},
        },
    },
    "CSINode": {"spec": {"drivers": [{"name": "d.example.com", "nodeID": "n"}]}},
    "CertificateSigningRequest": {
        "spec": {"signerName": "example.com/x", "request": _REQUEST, "usages": ["client auth"]}
    },
    "ClusterRoleBinding": {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    },
    "ClusterTrustBundle": {"spec": {"trustBundle": _CERTIFICATE}},
    "ControllerRevision": {"revision": 1, "data": {"a": 1}},
    "CronJob": {"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": _JOB}}},
    "CustomResourceDefinition": {
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com",
            "names": {"kind": "Thing", "plural": "things"},
            "scope": "Namespaced",
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                }
            ],
        },
    },
    "DaemonSet": {"spec": _SELECTED},
    "Deployment": {"spec": _SELECTED},
    "DeviceClass": {"spec": {"selectors": [{"cel": {"expression": "true"}}]}},
    "DeviceTaintRule": {"spec": {"taint": {"key": "example.com/a", "effect": "NoSchedule"}}},
    "EndpointSlice": {
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.1"]}],
        "ports": [{"port": 80}],
    },
    "Endpoints": {"subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}]},
    "Event": {
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "Tried",
        "message": "text",
        "type": "Normal",
    },
    "FlowSchema": {
        "spec": {
            "priorityLevelConfiguration": {"name": "exempt"},
            "rules": [
                {
                    "subjects": [{"kind": "User", "user": {"name": "a"}}],
                    "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}],
                }
            ],
        }
    },
    "HorizontalPodAutoscaler": {
        "spec": {
            "scaleTargetRef": _TARGET,
            "maxReplicas": 3,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "memory",
                        "target": {"type": "AverageValue", "averageValue": "1Gi"},
                    },
                }
            ],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
        }
    },
    "IPAddress": {
        "metadata": {
            "name": "192.0.2.7",
            "labels": {
                "ipaddress.kubernetes.io/ip-family": "IPv4",
                "ipaddress.kubernetes.io/managed-by": "me",
            },
        },
        "spec": {"parentRef": {"resource": "services", "name": "s", "namespace": "default"}},
    },
    "Ingress": {
        "spec": {
            "ingressClassName": "nginx",
            "rules": [
                {
                    "host": "web.example.com",
                    "http": {
                        "paths": [
                            {
                                "path": "/",
                                "pathType": "Prefix",
                                "backend": {"service": {"name": "web", "port": {"number": 80}}},
                            }
                        ]
                    },
                }
            ],
            "tls": [{"hosts": ["web.example.com"], "secretName": "tls"}],
        }
    },
    "IngressClass": {
        "spec": {
            "controller": "example.com/ingress",
            "parameters": {"apiGroup": "example.com", "kind": "Parameters", "name": "p"},
        }
    },
    "Job": {"spec": _JOB},
    "Lease": {"spec": {"holderIdentity": "me", "leaseDurationSeconds": 15}},
    "LimitRange": {
        "spec": {
            "limits": [
                {"type": "Container", "max": {"cpu": "2"}, "defaultRequest": {"memory": "1Gi"}}
            ]
        }
    },
    "MutatingAdmissionPolicy": {
        "spec": {
            "matchConstraints": _MATCH,
            "reinvocationPolicy": "Never",
            "mutations": [
                {
                    "patchType": "ApplyConfiguration",
                    "applyConfiguration": {"expression": _EXPRESSION},
                }
            ],
        }
    },
    "MutatingAdmissionPolicyBinding": {"spec": {"policyName": "none.example.com"}},
    "MutatingWebhookConfiguration": {"webhooks": [{**_WEBHOOK, "rules": []}]},
    "NetworkPolicy": {
        "spec": {
            "podSelector": {"matchLabels": _LABELS},
            "ingress": [{"ports": [{"port": 80}]}],
        }
    },
    "PersistentVolume": {
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
            "hostPath": {"path": "/tmp/x"},
            "storageClassName": "slow",
        }
    },
    "PersistentVolumeClaim": {
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "slow",
        }
    },
    "Pod": {"spec": _POD_SPEC},
    "PodCertificateRequest": {
        "spec": {
            "signerName": "example.com/x",
            "podName": "p",
            "podUID": "11111111-2222-4333-8444-555555555555",
            "serviceAccountName": "default",
            "serviceAccountUID": "11111111-2222-4333-8444-555555555556",
            "nodeName": "n",
            "nodeUID": "11111111-2222-4333-8444-555555555557",
            "stubPKCS10Request": _REQUEST,
        }
    },
    "PodDisruptionBudget": {
        "spec": {"minAvailable": 1, "selector": {"matchLabels": _LABELS}},
    },
    "PodTemplate": {"template": _TEMPLATE},
    "PriorityClass": {"value": 5},
    "PriorityLevelConfiguration": {
        "spec": {
            "type": "Limited",
            "limited": {"limitResponse": {"type": "Queue", "queuing": {}}},
        }
    },
    "ReplicaSet": {"spec": _SELECTED},
    "ReplicationController": {"spec": {"selector": _LABELS, "template": _TEMPLATE}},
    "ResourceClaim": {
        "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}
    },
    "ResourceClaimTemplate": {
        "spec": {
            "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}
        }
    },
    "ResourceQuota": {"spec": {"hard": {"pods": "4", "limits.cpu": "2"}}},
    "ResourceSlice": {
        "spec": {
            "driver": "d.example.com",
            "nodeName": "n",
            "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
        }
    },
    "RoleBinding": {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    },
    "RuntimeClass": {"handler": "runc"},
    "Service": {"spec": {"ports": [{"port": 80}]}},
    "ServiceCIDR": {"spec": {"cidrs": ["198.51.100.0/24"]}},
    "StatefulSet": {"spec": {**_SELECTED, "serviceName": "web"}},
    "StorageClass": {"provisioner": "d.example.com"},
    "StorageVersionMigration": {"spec": {"resource": {"group": "", "resource": "secrets"}}},
    "ValidatingAdmissionPolicy": {
        "spec": {"matchConstraints": _MATCH, "validations": [{"expression": "true"}]}
    },
    "ValidatingAdmissionPolicyBinding": {
        "spec": {"policyName": "none.example.com", "validationActions": ["Deny"]}
    },
    "ValidatingWebhookConfiguration": {"webhooks": [{**_WEBHOOK, "rules": []}]},
    "VolumeAttachment": {
        "spec": {
            "attacher": "d.example.com",
            "nodeName": "n",
            "source": {"persistentVolumeName": "v"},
        }
    },
    "VolumeAttributesClass": {"driverName": "d.example.com", "parameters": {"a": "b"}},
    "autoscaling.v1.HorizontalPodAutoscaler": {
        "spec": {
            "scaleTargetRef": _TARGET,
            "maxReplicas": 3,
            "targetCPUUtilizationPercentage": 50,
        }
    },
    "events.v1.Event": {
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "Tried",
        "note": "text",
        "type": "Normal",
        "eventTime": "2026-01-02T03:04:05.000000Z",
        "reportingController": "example.com/x",
        "reportingInstance": "x-1",
        "action": "Try",
    },
}
BODIES["resource.v1.ResourceClaim"] = BODIES.pop("ResourceClaim")

_VALUES: dict[str, Any] = {
    "string": "x",
    "integer": 1,
    "int32": 1,
    "boolean": False,
    "bytes": "eA==",
    "quantity": "1",
    "intOrString": 1,
}


def name_of(kind: Kind) -> str:
    return f"{kind.api_version} {kind.plural}"


def collection(kind: Kind) -> str:
    """Return the path of a kind's objects, in the namespace `default`."""
    return f"{kind.prefix}{'/namespaces/default' if kind.namespaced else ''}/{kind.plural}"


def new_body(kind: Kind, name: str = "web") -> Any:
    """Return an object of a kind: a body from the table, or else one with the required fields only."""
    body = copy.deepcopy(BODIES.get(kind.type_name)) or _required(kind.schema_name)
    metadata = {"name": name} | body.pop("metadata", {})
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **body}


def _required(name: str) -> Any:
    fields = schema.types()[name]
    found = {field: _value(fields[field]) for field in schema.required(name)}
    return {field: value for field, value in found.items() if field != "status"}


def _value(notation: str) -> Any:
    if notation.startswith("["):
        return [_value(notation[1:-1])]
    if notation in schema.types():
        return _required(notation)
    return _VALUES.get(notation, {})
