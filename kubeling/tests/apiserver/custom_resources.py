"""CustomResourceDefinitions for the tests of the embedded API server."""

import asyncio
from typing import Any

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP = "stable.example.com"
TEXT = {"type": "string"}


def definition(
    kind: str = "Widget", group: str = GROUP, *, scope: str = "Namespaced", **fields: Any
) -> dict[str, Any]:
    """Return a definition with one version, whose spec has these fields."""
    plural = kind.lower() + "s"
    spec = {"type": "object", "properties": fields or {"text": TEXT}}
    schema = {"type": "object", "properties": {"spec": spec}}
    versions = [
        {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    ]
    names = {"plural": plural, "kind": kind, "shortNames": [f"x{plural[:2]}"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": scope, "names": names, "versions": versions},
    }


def objects_path(body: dict[str, Any], name: str = "", namespace: str = "default") -> str:
    """Return the path of the objects of a definition."""
    spec = body["spec"]
    root = f"/apis/{spec['group']}/v1/namespaces/{namespace}/{spec['names']['plural']}"
    return f"{root}/{name}" if name else root


def new_object(body: dict[str, Any], name: str = "a", **spec: Any) -> dict[str, Any]:
    """Return an object of a definition."""
    meta = {"apiVersion": f"{body['spec']['group']}/v1", "kind": body["spec"]["names"]["kind"]}
    return meta | {"metadata": {"name": name}, "spec": spec}


async def establish(live: Any, body: dict[str, Any]) -> str:
    """Create a definition; return the path of its objects when they are served."""
    reply = await live.call("POST", DEFINITIONS, body)
    assert reply.status == 201, reply.text
    await until(live, objects_path(body), 200)
    return objects_path(body)


async def until(live: Any, path: str, status: int) -> Any:
    """Repeat a GET until it has this status."""
    while True:
        reply = await live.call("GET", path)
        if reply.status == status:
            return reply
        await asyncio.sleep(0.01)
