"""Builds a real Kubernetes control plane of a version that is pinned in `controlplane`.

The result is a folder with etcd, kube-apiserver and kube-controller-manager for `KUBEBUILDER_ASSETS`:
`KUBEBUILDER_ASSETS=$(python -m bench.peers.kubernetes 1.34.4)`.
"""

import contextlib
import os
import sys
from pathlib import Path

from bench.peers.build import CannotBuild, build_program, cache
from bench.peers.controlplane import NAMES, VERSIONS
from podpass.lab.cluster.control_plane.programs import ASSETS, NoControlPlane, find

CHOSEN = "PODPASS_TEST_KUBERNETES"


def assets(version: str) -> Path:
    """Return the folder with the programs of a version; build them if they are missing.

    Raises CannotBuild, also for a version that is not pinned.
    """
    if version not in VERSIONS:
        raise CannotBuild(f"Kubernetes {version} is not pinned; {', '.join(VERSIONS)} are")
    folder = cache() / f"kubernetes-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        binary, link = build_program(f"{name}-{version}"), folder / name
        if not (link.is_symlink() and link.readlink() == binary):
            # Replace the link atomically: another run may be starting the program.
            part = folder / f".{name}.part"
            part.unlink(missing_ok=True)
            part.symlink_to(binary)
            part.replace(link)
    return folder


def environ() -> dict[str, str]:
    """Return the environment variables of a control plane; build one if there is none.

    PODPASS_TEST_KUBERNETES selects a pinned version; KUBEBUILDER_ASSETS and PATH are then ignored. Raises
    CannotBuild.
    """
    version = os.environ.get(CHOSEN, "")
    found = dict(os.environ)
    with contextlib.suppress(NoControlPlane):
        # Tests need the controllers of Deployments and ServiceAccounts, which envtest's folder does not have.
        if not version and find(found).controllers is not None:
            return found
    return found | {ASSETS: str(assets(version or VERSIONS[0]))}


if __name__ == "__main__":
    try:
        print(assets(sys.argv[1] if len(sys.argv) > 1 else VERSIONS[0]))
    except CannotBuild as exc:
        sys.exit(str(exc))
