"""Docker Engine for kind: what kind's nodes need of a machine, and this one may lack."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.containers.engine import Engine, docker_engine
from tests.node.sandbox import Sandbox
from tests.run_program import run_text

# kind mounts /lib/modules into its nodes. Where it does not exist, Docker creates it: in the sandbox only.
_MODULES = """
set -e
mkdir -p "$1/modules/upper" "$1/modules/work"
mount -t overlay overlay -o "lowerdir=/usr/lib,upperdir=$1/modules/upper,workdir=$1/modules/work" /usr/lib
"""
# Docker gives a privileged container each capability that the kernel knows, and runc cannot give one that the
# machine itself lacks. Docker writes compact JSON, in which these capabilities are never the first.
_RUNTIME = """#!/bin/sh
previous= file=
for word; do
    case $previous in
        --bundle) file=$word/config.json ;;
        --process) file=$word ;;
    esac
    previous=$word
done
[ -z "$file" ] || sed -i {edits} "$file"
exec runc "$@"
"""


@contextlib.contextmanager
def kind_engine() -> Iterator[Engine]:
    """Run Docker Engine such that kind's nodes run on this machine."""
    with docker_engine(_prepare) as engine:
        yield engine


def _prepare(box: Sandbox) -> list[str]:
    box.run("sh", "-c", _MODULES, "modules", box.folder)
    missing = missing_capabilities()
    if not missing:
        return []
    edits = " ".join(f"""-e 's/,"CAP_{name.upper()}"//g'""" for name in missing)
    runtime = box.folder / "runc"
    runtime.write_text(_RUNTIME.format(edits=edits))
    runtime.chmod(0o755)
    return ["--add-runtime", f"machine={runtime}", "--default-runtime", "machine"]


def missing_capabilities() -> list[str]:
    """Return the names of the capabilities that no process of this machine can have."""
    status = Path("/proc/self/status").read_text().partition("CapBnd:")[2].split()[0]
    listed = run_text(["setpriv", "--list-caps"], check=True)
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    names = listed.stdout.split()[: last + 1]
    return [name for number, name in enumerate(names) if not int(status, 16) >> number & 1]
