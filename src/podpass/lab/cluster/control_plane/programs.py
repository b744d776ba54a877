"""Find the programs of a control plane: in KUBEBUILDER_ASSETS first, then on the PATH."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from podpass.errors import Error

ASSETS = "KUBEBUILDER_ASSETS"
ETCD, API_SERVER, CONTROLLERS = "etcd", "kube-apiserver", "kube-controller-manager"


class NoControlPlane(Error):
    """A program of the control plane is not installed."""

    code = "no_control_plane"


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The programs of a control plane; without controllers a Deployment creates no pods."""

    etcd: Path
    api_server: Path
    controllers: Path | None


def find(environ: Mapping[str, str]) -> Programs:
    """Find the programs. Raises NoControlPlane, with the missing programs and the searched locations."""
    folders = [environ.get(ASSETS, ""), *environ.get("PATH", os.defpath).split(os.pathsep)]
    search = os.pathsep.join(folder for folder in folders if folder)
    found = {name: shutil.which(name, path=search) for name in (ETCD, API_SERVER)}
    etcd, api_server = found[ETCD], found[API_SERVER]
    if etcd is None or api_server is None:
        raise _missing([name for name, path in found.items() if path is None], environ)
    # Only from the same folder: controllers must not be newer than their API server.
    controllers = shutil.which(CONTROLLERS, path=str(Path(api_server).parent))
    return Programs(
        etcd=Path(etcd),
        api_server=Path(api_server),
        controllers=Path(controllers) if controllers else None,
    )


def _missing(names: list[str], environ: Mapping[str, str]) -> NoControlPlane:
    place = f"{ASSETS}={environ[ASSETS]}" if environ.get(ASSETS) else f"{ASSETS}, which is not set,"
    return NoControlPlane(
        f"{' and '.join(names)} not found in {place} or on the PATH",
        hint=f"set {ASSETS} to a folder with {ETCD} and {API_SERVER}, for example one of setup-envtest, or"
        " use --kubernetes embedded",
    )
