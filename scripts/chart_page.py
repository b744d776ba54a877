"""The chart's page: its values with their defaults, from the comments of values.yaml."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[1] / "charts" / "podpass"
_KEY = re.compile(r"( *)([A-Za-z]\w*):")


def chart_page(made: str) -> str:
    """List every value of the chart."""
    lines = [
        "# Chart podpass\n",
        made,
        "Installs what azure-workload-identity's chart `workload-identity-webhook` installs, under the same",
        "object names, labels and values. How to install it, and how to come from there and go back:",
        "[docs/guides/install.md](../../docs/guides/install.md).\n",
        "```sh",
        "helm install workload-identity-webhook charts/podpass \\",
        "  --namespace azure-workload-identity-system --create-namespace \\",
        "  --set azureTenantID=TENANT --set image.repository=REGISTRY/podpass",
        "```\n",
        "A key that is not here, or a value of a wrong type, is refused by `values.schema.json`.\n",
        "| value | default | meaning |",
        "|---|---|---|",
    ]
    rows = (f"| `{key}` | {_shown(default)} | {text} |" for key, default, text in values())
    return "\n".join([*lines, *rows, ""])


def values() -> Iterator[tuple[str, Any, str]]:
    """Find each commented key, its default and its comment."""
    source = (CHART / "values.yaml").read_text()
    defaults = yaml.safe_load(source)
    path: list[str] = []
    comment: list[str] = []
    for line in source.splitlines():
        if line.lstrip().startswith("#"):
            comment.append(line.lstrip("# "))
            continue
        found = _KEY.match(line)
        if found:
            path = [*path[: len(found[1]) // 2], found[2]]
            if comment:
                yield ".".join(path), _at(defaults, path), " ".join(comment)
        comment = []


def _at(tree: Any, path: list[str]) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def _shown(default: Any) -> str:
    return "" if default in ("", None) else f"`{json.dumps(default).strip(chr(34))}`"
