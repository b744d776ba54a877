"""Write `schema.json`: the types of the Kubernetes API, from the models of the official client.

Run it after an update of the client:  python scripts/make_schema.py
Types that no root reaches and alpha fields are omitted.
"""

import json
import re
from pathlib import Path
from typing import Any

import kubernetes.client.models as models

TARGET = Path("src/podpass/kubernetes/apiserver/schema.json")

ROOTS = (
    *("V1ConfigMap", "CoreV1Event", "V1Namespace", "V1Node", "V1Pod", "V1Secret"),
    *(
        "V1ReplicationController",
        "V1ServiceAccount",
        "V1Service",
        "V1Binding",
        "AuthenticationV1TokenRequest",
    ),
    *("V1SelfSubjectReview", "V1TokenReview", "V1LocalSubjectAccessReview"),
    *("V1SelfSubjectAccessReview", "V1SelfSubjectRulesReview", "V1SubjectAccessReview"),
    *("V1ClusterRoleBinding", "V1ClusterRole", "V1RoleBinding", "V1Role"),
    *("V1MutatingWebhookConfiguration", "V1ValidatingWebhookConfiguration", "V1Lease"),
    *("V1Deployment", "V1ReplicaSet", "V1StatefulSet", "V1DaemonSet", "V1ControllerRevision"),
    *("V1Job", "V1CronJob", "V1Scale", "V1PodDisruptionBudget", "V1Eviction", "V1DeleteOptions"),
    *("V1NetworkPolicy", "V1PriorityClass", "V1EndpointSlice", "V1CustomResourceDefinition"),
    *("V1CSIDriver",),
)

_STREAMS = dict.fromkeys(("stderr", "stdin", "stdout", "tty"), "boolean")
# Query parameters for which the client has no model; admission webhooks receive them as an object.
OPTIONS = {
    "PodAttachOptions": {"container": "string", **_STREAMS},
    "PodExecOptions": {"command": "[string]", "container": "string", **_STREAMS},
    "PodPortForwardOptions": {"ports": "[integer]"},
}

# The client's models declare these only as strings and objects.
QUANTITIES = {
    *("allocatable", "allocatedResources", "capacity", "divisor", "limits"),
    *("overhead", "requests", "sizeLimit"),
}
MICRO_TIMES = {"acquireTime", "eventTime", "lastObservedTime", "renewTime"}
FREE = {
    *("data", "fieldsV1", "additionalItems", "additionalProperties", "default", "dependencies"),
    *("enum", "example", "status"),
}
# A list of schemas here would not be a structural schema, which a definition must have.
SCHEMAS = {"items": "JSONSchemaProps"}
PLAIN = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "bytes": "bytes",
    "datetime": "time",
}


def short(model: str) -> str:
    """Return the API's name of a type: `V1Pod`, `CoreV1Event` become `Pod`, `Event`."""
    return re.sub(
        r"^(?:Core|Rbac|Admissionregistration|Apiextensions|Authentication|Discovery)?V1", "", model
    )


def notation(field: str, kind: str) -> str:
    """Return the notation of a type: `[X]` for a list, `{X}` for a map, otherwise the type's name."""
    if found := re.fullmatch(r"List\[(.+)\]", kind):
        return f"[{notation(field, found[1])}]"
    if found := re.fullmatch(r"Dict\[str, (.+)\]", kind):
        return "{" + notation(field, found[1]) + "}"
    if kind == "object":
        return "object" if field in FREE else SCHEMAS.get(field, "intOrString")
    if kind == "str" and field in QUANTITIES:
        return "quantity"
    if kind == "datetime" and field in MICRO_TIMES:
        return "microTime"
    return PLAIN.get(kind) or short(kind)


def fields(model: Any) -> dict[str, str]:
    """Return the notation of a type's fields; `!` marks required fields."""
    required = {
        field.serialization_alias or name
        for name, field in model.model_fields.items()
        if field.is_required()
    }
    found = {}
    for attribute, kind in sorted(model.openapi_types.items()):
        if re.search(r"V\d+(?:alpha|beta)", kind):
            continue
        field = model.attribute_map[attribute]
        must = "!" if field in required else ""
        found[field] = notation(field, kind) + must
    return found


def reachable() -> dict[str, dict[str, str]]:
    """Return every type that the roots use."""
    types: dict[str, dict[str, str]] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        model = getattr(models, name)
        if short(name) in types:
            continue
        types[short(name)] = fields(model)
        for kind in model.openapi_types.values():
            waiting += re.findall(r"\w*V1[A-Z]\w*", kind)
    return dict(sorted({**types, **OPTIONS}.items()))


def main() -> None:
    """Write one type per line, so that a change is a readable diff."""
    lines = [f"{json.dumps(name)}: {json.dumps(of)}" for name, of in reachable().items()]
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{TARGET}: {len(lines)} types")


if __name__ == "__main__":
    main()
