"""What a real API server answered, step by step, and objects made as the cluster makes them."""

import copy
import json
from pathlib import Path
from typing import Any

from podpass.kubernetes.apiserver import schema
from podpass.kubernetes.apiserver.defaulting import defaults
from podpass.kubernetes.apiserver.kinds import KINDS, Kind
from podpass.kubernetes.apiserver.registry import strategies

VECTORS = Path(__file__).parents[2] / "vectors" / "kubernetes.json"
UID = "11111111-2222-4333-8444-555555555555"
STEPS = json.loads(VECTORS.read_text())["steps"]
_BY_TITLE = {each["title"]: each for each in STEPS}


def step(title: str) -> Any:
    """Give a recorded step."""
    return copy.deepcopy(_BY_TITLE[title])


def answer(title: str) -> Any:
    """Give the body of a recorded answer."""
    return step(title)["expect"]["body"]


def kind_of(body: Any) -> Kind | None:
    """Find the kind of a recorded body, by what it says of itself."""
    said = (body.get("apiVersion", ""), body.get("kind", ""))
    return next((kind for kind in KINDS if (kind.api_version, kind.kind) == said), None)


def make(kind: Kind, body: Any) -> Any:
    """Make a new object of a body: known fields, defaults, a namespace and a name."""
    obj = defaults.at_creation(kind, schema.prune(kind, body))
    metadata = obj.setdefault("metadata", {})
    if kind.namespaced:
        metadata.setdefault("namespace", "one")
    if "generateName" in metadata:
        metadata.setdefault("name", metadata["generateName"] + "abcde")
    made = defaults.apply(kind, obj)
    if kind.kind == "Job":  # its pods bear its uid
        metadata["uid"] = UID
        strategies.select(made)
    return made
