"""A real Kubernetes control plane, of each version that is pinned in `controlplane`.

In: a version. Out: a folder with etcd, kube-apiserver and kube-controller-manager, as `KUBEBUILDER_ASSETS`
wants it: `KUBEBUILDER_ASSETS=$(python -m bench.peers.kubernetes 1.34.4)`.
"""

import contextlib
import os
import sys
from pathlib import Path

from bench.peers.build import CannotBuild, built, cache
from bench.peers.controlplane import NAMES, VERSIONS
from podpass.local.control_plane.programs import ASSETS, NoControlPlane, find

CHOSEN = "PODPASS_TEST_KUBERNETES"


def assets(version: str) -> Path:
    """Give a folder with the programs of a version, built if they are not there yet.

    Errors:  CannotBuild, also for a version that is not pinned.
    """
    if version not in VERSIONS:
        raise CannotBuild(f"Kubernetes {version} is not pinned; {', '.join(VERSIONS)} are")
    folder = cache() / f"kubernetes-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        binary, link = built(f"{name}-{version}"), folder / name
        if not (link.is_symlink() and link.readlink() == binary):
            # Put in place whole: another run may be starting the program that the link names.
            part = folder / f".{name}.part"
            part.unlink(missing_ok=True)
            part.symlink_to(binary)
            part.replace(link)
    return folder


def environ() -> dict[str, str]:
    """Give an environment in which a control plane is found, built if there is none.

    Shapes:  PODPASS_TEST_KUBERNETES chooses a pinned version; then nothing else is looked at.
    Errors:  CannotBuild.
    """
    version = os.environ.get(CHOSEN, "")
    found = dict(os.environ)
    with contextlib.suppress(NoControlPlane):
        # Deployments and accounts are made by controllers, which envtest's folder does not have.
        if not version and find(found).controllers is not None:
            return found
    return found | {ASSETS: str(assets(version or VERSIONS[0]))}


if __name__ == "__main__":
    try:
        print(assets(sys.argv[1] if len(sys.argv) > 1 else VERSIONS[0]))
    except CannotBuild as exc:
        sys.exit(str(exc))
