"""Generate a chart's README: its values with their defaults, from the comments of values.yaml."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHARTS = Path(__file__).parents[1] / "charts"
_KEY = re.compile(r"( *)([A-Za-z]\w*):")
# What each chart installs, and the install command.
_ABOUT = {
    "podpass": """\
Installs the admission webhook of Microsoft Entra Workload ID. Object names, labels and values are those of
azure-workload-identity's chart `workload-identity-webhook`. How to install it, upgrade from
azure-workload-identity and roll back: [docs/operate/install.md](../../docs/operate/install.md).

```sh
helm install workload-identity-webhook charts/podpass \\
  --namespace azure-workload-identity-system --create-namespace \\
  --set azureTenantID=TENANT --set image.repository=REGISTRY/podpass
```

Permissions in the namespace of the release: read and update the Secret `azure-wi-webhook-server-cert`, and
create Secrets, so that the webhook creates this one again if it was deleted. Kubernetes cannot restrict
`create` to a name. A user who controls a webhook pod can therefore create a Secret that another pod of the
namespace waits for, or one with a token of another ServiceAccount there. They can read only a Secret with
the name above. That name is free only after the webhook's own Secret was deleted, and the webhook has no
permission to delete it. Do not install the chart in a namespace with other workloads, such as
`kube-system`. With cert-manager or `disableCertRotation`, the webhook has no permission on Secrets.
""",
    "podpass-authority": """\
Installs the token service, `podpass authority`: the objects of `deploy/authority`, with the same names.

Prerequisites: Secrets in the release namespace with the database URL, the sealing key and the certificate.
Create them before `helm install`: with a seed, Helm waits for the seed Job, and its pod needs the database
Secret.

The seed Job is a Helm hook, so `helm uninstall` does not delete it. Kubernetes deletes the Job and its pods
one hour after it finished. To delete them earlier: `kubectl -n podpass delete job podpass-authority-seed`.

Step by step, with clients: [docs/operate/self-host.md](../../docs/operate/self-host.md).

```sh
helm install podpass-authority charts/podpass-authority --namespace podpass \\
  --set origin=https://authority.example.com --set tenantID=TENANT --set image.repository=REGISTRY/podpass
```
""",
    "podpass-cloud": """\
Installs the cloud half, `podpass cloud serve`, into a test cluster: one pod with the token service, the
directory, Resource Manager and key vaults. For test clusters only. `podpass cloud install` applies the same
objects, and does the two steps that a chart cannot do: it makes Azure's names resolve to the Service in the
cluster's DNS, and installs the webhook for identities if the cluster has none. Step by step:
[docs/develop/cloud.md](../../docs/develop/cloud.md).

```sh
helm install podpass-cloud charts/podpass-cloud --namespace podpass-cloud --create-namespace \\
  --set-file seed=seed.yaml
```

Permissions. In its namespace the pod reads and updates one Secret, which keeps its tenant, its CA and its
keys, and reads its Service. In the whole cluster it reads namespaces, creates ConfigMaps, changes the two
ConfigMaps with the CA, and updates the registration of its own webhook. Kubernetes cannot limit `create` to
names.
""",
}


def chart_page(name: str, made: str) -> str:
    """Return the README of a chart: one table row per value."""
    lines = [
        f"# Chart {name}\n",
        made,
        _ABOUT[name],
        "`values.schema.json` refuses unknown keys and values of the wrong type.\n",
        "| value | default | meaning |",
        "|---|---|---|",
    ]
    rows = (
        f"| `{key}` | {_format_default(default)} | {text} |"
        for key, default, text in values(CHARTS / name / "values.yaml")
    )
    return "\n".join([*lines, *rows, ""])


def values(file: Path) -> Iterator[tuple[str, Any, str]]:
    """Yield each commented key with its default and its comment."""
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
                yield ".".join(path), _get_path(defaults, path), " ".join(comment)
        comment = []


def _get_path(tree: Any, path: list[str]) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def _format_default(default: Any) -> str:
    return "" if default in ("", None) else f"`{json.dumps(default).strip(chr(34))}`"
