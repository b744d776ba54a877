"""A chart's page: its values with their defaults, from the comments of values.yaml."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHARTS = Path(__file__).parents[1] / "charts"
_KEY = re.compile(r"( *)([A-Za-z]\w*):")
# What each chart installs, and by which command.
_ABOUT = {
    "podpass": """\
Installs what azure-workload-identity's chart `workload-identity-webhook` installs, under the same
object names, labels and values. How to install it, and how to come from there and go back:
[docs/guides/install.md](../../docs/guides/install.md).

```sh
helm install workload-identity-webhook charts/podpass \\
  --namespace azure-workload-identity-system --create-namespace \\
  --set azureTenantID=TENANT --set image.repository=REGISTRY/podpass
```
""",
    "podpass-authority": """\
Installs the token service, `podpass authority`: the objects of `deploy/authority`, under the same names.
The database's URL, the sealing key and the certificate come in Secrets of the release's namespace.
Make them before `helm install`: with a seed, Helm waits for its Job, whose pod needs the database's.
That Job is a hook, so `helm uninstall` leaves it and its pods until an hour after it ended, or until
`kubectl -n podpass delete job podpass-authority-seed`.
The whole way, with its clients: [docs/guides/self-host.md](../../docs/guides/self-host.md).

```sh
helm install podpass-authority charts/podpass-authority --namespace podpass \\
  --set origin=https://authority.example.com --set tenantID=TENANT --set image.repository=REGISTRY/podpass
```
""",
}


def chart_page(name: str, made: str) -> str:
    """List every value of a chart."""
    lines = [
        f"# Chart {name}\n",
        made,
        _ABOUT[name],
        "A key that is not here, or a value of a wrong type, is refused by `values.schema.json`.\n",
        "| value | default | meaning |",
        "|---|---|---|",
    ]
    rows = (
        f"| `{key}` | {_shown(default)} | {text} |"
        for key, default, text in values(CHARTS / name / "values.yaml")
    )
    return "\n".join([*lines, *rows, ""])


def values(file: Path) -> Iterator[tuple[str, Any, str]]:
    """Find each commented key, its default and its comment."""
    source = file.read_text()
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
