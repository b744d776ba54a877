"""The programs of a node: Debian packages, and Go programs, built once. Tests skip what is missing."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.peers.build import CannotBuild, build_program
from bench.peers.controlplane import VERSIONS
from tests import debian
from tests.node import images, language_images

CNI_FOLDER = Path("/usr/lib/cni")
# Each program and the Debian package that has it.
_PACKAGES = {
    "conntrack": "conntrack",
    "containerd": "containerd",
    "ctr": "containerd",
    "ip": "iproute2",
    "iptables": "iptables",
    "mountpoint": "util-linux",
    "nsenter": "util-linux",
    "runc": "runc",
    "sysctl": "procps",
    "unshare": "util-linux",
}
# A test without them is skipped, and the node runs.
_OPTIONAL = {"musl-gcc": "musl-tools"}
_CNI_PACKAGE = "containernetworking-plugins"
_KUBERNETES = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    *("kubelet", "kube-proxy"),
)
_OTHERS = ("coredns", "helm", "pause")
# Without one of them, only its own tests are skipped.
ADDONS = (
    *("external-secrets", "plugin-registrar"),
    *("secrets-store-driver", "secrets-store-provider"),
)
_PATH = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin{os.pathsep}/sbin"


class CannotRun(Exception):
    """A node cannot run on this machine; the message names what is missing."""


def missing_packages() -> list[str]:
    """Return the Debian packages that this machine lacks."""
    missing = {package for name, package in _PACKAGES.items() if not find(name)}
    if not (CNI_FOLDER / "ptp").exists():
        missing.add(_CNI_PACKAGE)
    return sorted(missing)


def find(name: str) -> str | None:
    """Return the path of a program of the machine, None if it is not installed."""
    return shutil.which(name, path=_PATH)


def install_packages() -> None:
    """Install the missing packages where that is possible."""
    optional = (each for name, each in _OPTIONAL.items() if not find(name))
    debian.install([*missing_packages(), *optional])


def build_programs() -> Mapping[str, Path]:
    """Return the Go programs of a node by name; build those that are missing, which takes minutes.

    Raises CannotRun.
    """
    names = {name: f"{name}-{VERSIONS[0]}" for name in _KUBERNETES}
    names |= {name: name for name in _OTHERS}
    try:
        return {name: build_program(built) for name, built in names.items()}
    except CannotBuild as exc:
        raise CannotRun(str(exc)) from exc


def check_machine() -> None:
    """Check that this machine can run a node. Raises CannotRun."""
    if os.geteuid() != 0:
        raise CannotRun("a node needs root")
    if missing := missing_packages():
        raise CannotRun(f"{', '.join(missing)} not installed")
    if not find("kubectl"):
        raise CannotRun("kubectl is not installed")


def main() -> None:
    """Install and build what is missing, because a build takes longer than a test may."""
    install_packages()
    try:
        check_machine()
        build_programs()
        images.podpass_archive()
        images.client_layer()
        for target in ("proxy", "proxy-init"):
            images.target_layer(target)
        language_images.build_all()
    except CannotRun as exc:
        print(f"SKIPPED: a real node: {exc}", file=sys.stderr)
        return
    for name in ADDONS:
        try:
            build_program(name)
        except CannotBuild as exc:
            print(f"SKIPPED: {name}: {exc}", file=sys.stderr)


if __name__ == "__main__":
    main()
