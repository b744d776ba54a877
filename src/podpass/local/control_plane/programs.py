"""Where the programs of a control plane are found: envtest's folder first, the PATH after it."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from podpass.errors import Error

ASSETS = "KUBEBUILDER_ASSETS"
ETCD, API_SERVER, CONTROLLERS = "etcd", "kube-apiserver", "kube-controller-manager"


class NoControlPlane(Error):
    """A program that a real control plane is made of is not on this machine."""

    code = "no_control_plane"


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The programs of one control plane; without controllers nothing makes pods of a Deployment."""

    etcd: Path
    api_server: Path
    controllers: Path | None


def find(environ: Mapping[str, str]) -> Programs:
    """Find the programs.

    Errors:  NoControlPlane, naming what is missing and where it was looked for.
    """
    folders = [environ.get(ASSETS, ""), *environ.get("PATH", os.defpath).split(os.pathsep)]
    search = os.pathsep.join(folder for folder in folders if folder)
    found = {name: shutil.which(name, path=search) for name in (ETCD, API_SERVER)}
    etcd, api_server = found[ETCD], found[API_SERVER]
    if etcd is None or api_server is None:
        raise _missing([name for name, path in found.items() if path is None], environ)
    # Only the one beside it: controllers may be no newer than their API server.
    beside = shutil.which(CONTROLLERS, path=str(Path(api_server).parent))
    return Programs(
        etcd=Path(etcd),
        api_server=Path(api_server),
        controllers=Path(beside) if beside else None,
    )


def _missing(names: list[str], environ: Mapping[str, str]) -> NoControlPlane:
    place = f"{ASSETS}={environ[ASSETS]}" if environ.get(ASSETS) else f"{ASSETS}, which is not set,"
    return NoControlPlane(
        f"there is no {' and no '.join(names)} in {place} nor on the PATH",
        hint=f"name a folder that has {ETCD} and {API_SERVER} in {ASSETS}, as setup-envtest makes one, or"
        " start with --kubernetes embedded",
    )
