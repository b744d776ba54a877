"""CustomResourceDefinitions for the contract tests, each with a group of its own."""

from dataclasses import dataclass
from typing import Any

from tests.control_plane.contract.api import Api, unique_name
from tests.kubeling.cluster import Reply

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CRON = "* * * * */5"
SPEC: dict[str, Any] = {
    "type": "object",
    "required": ["cron"],
    "properties": {
        "cron": {"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"},
        "image": {"type": "string", "default": "busybox"},
        "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1},
        "port": {"x-kubernetes-int-or-string": True},
        "note": {"type": "string", "nullable": True},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "args": {"type": "array", "items": {"type": "string"}},
        "when": {"type": "string", "format": "date-time"},
        "mode": {"type": "string", "enum": ["a", "b"]},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "steps": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string"},
                    "run": {"type": "string"},
                    "retries": {"type": "integer", "default": 3},
                },
            },
        },
        "selector": {
            "type": "object",
            "x-kubernetes-map-type": "atomic",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        },
        "template": {
            "type": "object",
            "x-kubernetes-embedded-resource": True,
            "x-kubernetes-preserve-unknown-fields": True,
        },
    },
}
STATUS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "replicas": {"type": "integer"},
        "selector": {"type": "string"},
        "phase": {"type": "string"},
    },
}
COLUMNS = [
    {"name": "Cron", "type": "string", "jsonPath": ".spec.cron"},
    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {"name": "Run", "type": "string", "jsonPath": '.spec.steps[?(@.name=="x")].run', "priority": 1},
    {"name": "Mode", "type": "string", "jsonPath": ".spec.mode", "priority": 1},
]


def version(name: str = "v1", *, storage: bool = True, **changes: Any) -> dict[str, Any]:
    """Return one version of a definition."""
    schema = {
        "type": "object",
        "required": ["spec"],
        "properties": {"spec": SPEC, "status": STATUS},
    }
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    return {
        "name": name,
        "served": True,
        "storage": storage,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}, "scale": scale},
        "selectableFields": [{"jsonPath": ".spec.mode"}],
        "additionalPrinterColumns": COLUMNS,
    } | changes


def small_version(name: str, *, storage: bool = False, **fields: Any) -> dict[str, Any]:
    """Return a version whose spec has only these fields, all of them optional."""
    spec = {"type": "object", "properties": fields}
    schema = {"type": "object", "properties": {"spec": spec}}
    body = {"name": name, "served": True, "storage": storage}
    return body | {"schema": {"openAPIV3Schema": schema}}


def definition(group: str, plural: str = "jobs", kind: str = "Job", **spec: Any) -> dict[str, Any]:
    """Return a definition; its kind has the name of a built-in kind, which must not matter."""
    names = {
        "plural": plural,
        "kind": kind,
        "shortNames": [f"my{plural[:2]}"],
        "categories": ["all"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version()]}
        | spec,
    }


def unique_group() -> str:
    return f"{unique_name('g')}.example.com"


@dataclass(kw_only=True)
class CustomApi:
    """An established definition, and a client of its objects in the namespace of the test."""

    api: Api
    group: str
    plural: str = "jobs"
    kind: str = "Job"

    @property
    def name(self) -> str:
        return f"{self.plural}.{self.group}"

    @property
    def definition_path(self) -> str:
        return f"{DEFINITIONS}/{self.name}"

    def path(self, name: str = "", sub: str = "", version: str = "v1") -> str:
        root = f"/apis/{self.group}/{version}/namespaces/{self.api.namespace}/{self.plural}"
        return "/".join(part for part in (root, name, sub) if part)

    def body(self, name: str = "a", version: str = "v1", **fields: Any) -> dict[str, Any]:
        """Return an object; `fields` are those of its spec."""
        meta = {"apiVersion": f"{self.group}/{version}", "kind": self.kind}
        return meta | {"metadata": {"name": name}, "spec": {"cron": CRON, **fields}}

    async def create(self, name: str = "a", query: str = "", **fields: Any) -> Any:
        reply = await self.api.call("POST", self.path() + query, self.body(name, **fields))
        assert reply.status == 201, reply.text
        return reply.body

    async def change_definition(self, spec: dict[str, Any]) -> Reply:
        """Replace fields of the definition's spec."""
        live = await self.api.get(self.definition_path)
        live["spec"] |= spec
        return await self.api.call("PUT", self.definition_path, live)


async def establish(api: Api, body: dict[str, Any]) -> CustomApi:
    """Create a definition, and wait until its objects are served in every version."""
    names = body["spec"]["names"]
    made = CustomApi(
        api=api, group=body["spec"]["group"], plural=names["plural"], kind=names["kind"]
    )
    reply = await api.call("POST", DEFINITIONS, body)
    assert reply.status == 201, reply.text
    for each in body["spec"]["versions"]:
        path = f"/apis/{made.group}/{each['name']}/{made.plural}"
        await api.wait_for(path, lambda reply: reply.status == 200)
    return made


def is_true(body: Any, condition: str) -> bool:
    """Return whether a condition of a definition is true."""
    found = (body.get("status") or {}).get("conditions") or ()
    return any(each["type"] == condition and each["status"] == "True" for each in found)
