"""The values of a chart in its schema, its defaults and its README."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# Helm sets it for charts that another chart depends on.
_OF_HELM = {"global", "enabled"}


def keys(tree: dict[str, Any], of: str = "") -> Iterator[str]:
    """Yield the path of every value in a values file, and of their parents."""
    for key, value in tree.items():
        yield of + key
        if isinstance(value, dict):
            yield from keys(value, f"{of}{key}.")


def _known(schema: dict[str, Any], of: str = "") -> Iterator[str]:
    for key, one in schema.get("properties", {}).items():
        yield of + key
        if one.get("additionalProperties") is False:
            yield from _known(one, f"{of}{key}.")


@dataclass(frozen=True)
class ChartFiles:
    """A chart's files; keys that begin with `below` are Kubernetes' or the program's and have no defaults."""

    folder: Path
    below: tuple[str, ...]

    def _yaml(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load((self.folder / name).read_text())
        return found

    @property
    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "values.schema.json").read_text())
        return found

    @property
    def defaults(self) -> dict[str, Any]:
        return self._yaml("values.yaml")

    @property
    def about(self) -> dict[str, Any]:
        return self._yaml("Chart.yaml")

    @property
    def page(self) -> str:
        return (self.folder / "README.md").read_text()

    @property
    def templates(self) -> list[Path]:
        return sorted((self.folder / "templates").rglob("*.yaml"))

    @property
    def known(self) -> set[str]:
        """Return every key that the schema allows, except Helm's."""
        return set(_known(self.schema)) - _OF_HELM

    @property
    def ours(self) -> set[str]:
        """Return the keys that have a default and a row in the README."""
        return {key for key in self.known if not key.startswith(self.below)}
