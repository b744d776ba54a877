"""A stand-in for `kind`, which answers with the context of the tests' node.

It does what kind does with the files that a user sees: `create cluster` adds a context to the kubeconfig and
selects it, `load image-archive` imports the archive into the node's containerd, `delete cluster` removes the
context. Every other call fails, so the guide cannot use a command that this program only pretends to do.
"""

import os
import subprocess
import sys
from pathlib import Path

import yaml

_CONTEXT = "kind-kind"
_IMPORT = ("ctr", "--namespace=k8s.io", "images", "import", "--all-platforms", "--digests", "-")


def main() -> int:
    """Run one command of kind."""
    kubeconfig, admin = Path(os.environ["KUBECONFIG"]), Path(os.environ["NODE_KUBECONFIG"])
    match sys.argv[1:]:
        case ["create", "cluster"]:
            kubeconfig.write_text(_rename(admin))
            print(f'Set kubectl context to "{_CONTEXT}"', file=sys.stderr)
        case ["get", "kubeconfig"]:
            print(_rename(admin))
        case ["load", "image-archive", name] | ["load", "image-archive", name, "--name", "kind"]:
            with Path(name).open("rb") as archive:
                return subprocess.run(_IMPORT, stdin=archive, check=False).returncode
        case ["delete", "cluster"]:
            kubeconfig.unlink()
        case arguments:
            print(f"ERROR: unknown command {' '.join(arguments)}", file=sys.stderr)
            return 1
    return 0


def _rename(admin: Path) -> str:
    """Return the node's kubeconfig with the name that kind gives a context."""
    config = yaml.safe_load(admin.read_text())
    (context,) = config["contexts"]
    context["name"] = config["current-context"] = _CONTEXT
    return yaml.safe_dump(config)


if __name__ == "__main__":
    sys.exit(main())
