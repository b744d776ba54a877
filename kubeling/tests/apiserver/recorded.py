"""The recorded responses of a real API server, and objects with the cluster's own defaults."""

import copy
import json
from pathlib import Path
from typing import Any

from kubeling.apiserver import schema
from kubeling.apiserver.defaulting import defaults
from kubeling.apiserver.kinds import KINDS, Kind
from kubeling.apiserver.registry import strategies

VECTORS = Path(__file__).parents[1] / "vectors" / "kubernetes.json"
UID = "11111111-2222-4333-8444-555555555555"
STEPS = json.loads(VECTORS.read_text())["steps"]
_BY_TITLE = {each["title"]: each for each in STEPS}


def step(title: str) -> Any:
    """Return a recorded step."""
    return copy.deepcopy(_BY_TITLE[title])


def recorded_body(title: str) -> Any:
    """Return the body of a recorded response."""
    return step(title)["expect"]["body"]


def kind_of(body: Any) -> Kind | None:
    """Return the kind of a recorded body, by its `kind` and `apiVersion`."""
    type_meta = (body.get("apiVersion", ""), body.get("kind", ""))
    return next((kind for kind in KINDS if (kind.api_version, kind.kind) == type_meta), None)


def new_object(kind: Kind, body: Any) -> Any:
    """Build a new object from a body: known fields, defaults, a namespace and a name."""
    obj = defaults.prepare_for_create(kind, schema.prune(kind, body))
    metadata = obj.setdefault("metadata", {})
    if kind.namespaced:
        metadata.setdefault("namespace", "one")
    if "generateName" in metadata:
        metadata.setdefault("name", metadata["generateName"] + "abcde")
    made = defaults.set_defaults(kind, obj)
    if kind.kind == "Job":  # its selector contains its uid
        metadata["uid"] = UID
        strategies.generate_selector(made)
    return made
