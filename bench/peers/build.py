"""Builds a peer from its folder here, which has a go.mod that pins it and none of its sources.

A binary is built again when the files of its folder have changed.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers import controlplane
from bench.peers.model import Program

_HERE = Path(__file__).parent
_BUILD_SECONDS = 5400


class CannotBuild(Exception):
    """A peer cannot be built on this machine; the message gives the reason."""


_AZWI = "github.com/Azure/azure-workload-identity/cmd/"
_HELM = "helm.sh/helm/v3/"
CONTROLLER_RUNTIME = "sigs.k8s.io/controller-runtime"
PODINFO = "github.com/stefanprodan/podinfo"
SEALED_SECRETS = "github.com/bitnami/sealed-secrets"
# The packages of controller-runtime whose tests need an API server.
CONTROLLER_RUNTIME_SUITES = ("builder", "cache", "client", "controller", "manager")
KUBECTL = "1.35.10"  # as in kubectl/go.mod
KIND = "sigs.k8s.io/kind"
EXTERNAL_SECRETS = "github.com/external-secrets/external-secrets"
SECRETS_STORE_DRIVER = "sigs.k8s.io/secrets-store-csi-driver"
SECRETS_STORE_PROVIDER = "github.com/Azure/secrets-store-csi-driver-provider-azure"
PROGRAMS = {
    "actionlint": Program(
        folder="actionlint", package="github.com/rhysd/actionlint/cmd/actionlint"
    ),
    "azwi": Program(folder="reference", package=_AZWI + "azwi"),
    "azwi-proxy": Program(folder="reference", package=_AZWI + "proxy"),
    "azwi-webhook": Program(folder="reference", package=_AZWI + "webhook"),
    # The solver alone: the command of cert-manager is a module of its own, which the proxy does not have.
    "cert-manager-solver": Program(folder="cert_manager", package="."),
    "coredns": Program(folder="coredns", package="github.com/coredns/coredns"),
    "crictl": Program(folder="crictl", package="sigs.k8s.io/cri-tools/cmd/crictl"),
    "crane": Program(folder="crane", package="github.com/google/go-containerregistry/cmd/crane"),
    "example-operator": Program(folder="example_operator", package="."),
    "external-secrets": Program(folder="external_secrets", package=EXTERNAL_SECRETS),
    # msgraph-sdk-go is azwi's library, and its build takes minutes: one version of it for both.
    "graph": Program(folder="reference", package="./graph"),
    "helm": Program(
        folder="helm",
        package=_HELM + "cmd/helm",
        # Without these flags Helm assumes an old Kubernetes version.
        ldflags="-s -w"
        f" -X {_HELM}internal/version.version=v3.22.0"
        f" -X {_HELM}pkg/chartutil.k8sVersionMajor=1 -X {_HELM}pkg/chartutil.k8sVersionMinor=37"
        f" -X {_HELM}pkg/lint/rules.k8sVersionMajor=1 -X {_HELM}pkg/lint/rules.k8sVersionMinor=37",
    ),
    "kind": Program(folder="kind", package=KIND),
    "kubectl": Program(
        folder="kubectl",
        package=".",
        ldflags=f"-s -w -X k8s.io/component-base/version.gitVersion=v{KUBECTL}"
        " -X k8s.io/component-base/version.gitMajor=1"
        f" -X k8s.io/component-base/version.gitMinor={KUBECTL.split('.')[1]}",
    ),
    "kubelogin": Program(folder="kubelogin", package="github.com/Azure/kubelogin"),
    "pause": Program(folder="pause", package="."),
    "plugin-registrar": Program(folder="plugin_registrar", package="."),
    # Without the clients of every cloud, which promtool needs for the check of scrape configurations only.
    "promtool": Program(
        folder="prometheus",
        package="github.com/prometheus/prometheus/cmd/promtool",
        tags="remove_all_sd",
    ),
    "secrets-store-driver": Program(
        folder="secrets_store_driver",
        package=SECRETS_STORE_DRIVER + "/cmd/secrets-store-csi-driver",
    ),
    "secrets-store-provider": Program(
        folder="secrets_store_provider",
        package=SECRETS_STORE_PROVIDER + "/cmd",
    ),
    "podinfo": Program(folder="podinfo", package=PODINFO + "/cmd/podinfo"),
    "podcli": Program(folder="podinfo", package=PODINFO + "/cmd/podcli"),
    "grpc_health_probe": Program(
        folder="podinfo", package="github.com/grpc-ecosystem/grpc-health-probe"
    ),
    "sealed-secrets": Program(folder="operators", package=SEALED_SECRETS + "/cmd/controller"),
    "sealed-secrets-suite": Program(
        folder="operators",
        package=SEALED_SECRETS + "/integration",
        tags="integration",
        is_test=True,
    ),
    "kubeseal": Program(folder="operators", package=SEALED_SECRETS + "/cmd/kubeseal"),
    **{
        f"controller-runtime-{name.replace('/', '-')}": Program(
            folder="operators", package=f"{CONTROLLER_RUNTIME}/pkg/{name}", is_test=True
        )
        for name in CONTROLLER_RUNTIME_SUITES
    },
    **{
        f"{name}-{version}": program
        for version in controlplane.VERSIONS
        for name, program in controlplane.programs(version).items()
    },
}


def build_program(name: str) -> Path:
    """Return the path of a program's binary; build it if it is missing, which takes minutes.

    Raises CannotBuild.
    """
    program = PROGRAMS[name]
    source = _HERE / program.folder
    place = cache() / f"{name}-{_digest(program, source)}"
    binary = place / name
    with _build_lock(place):
        if not binary.exists():
            _build(program, source, place, binary)
    return binary


def module_folder(name: str, module: str) -> Path:
    """Return the folder with the sources of a module that a program is built from. Raises CannotBuild."""
    source = build_program(name).with_name("src")
    command = ["go", "mod", "download", "-json", module]
    try:
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        raise CannotBuild(f"the module {module} cannot be downloaded: {exc}") from exc
    return Path(json.loads(done.stdout)["Dir"])


def cache() -> Path:
    """Return the cache folder, which is outside the checkout."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "podpass" / "peers"


def _digest(program: Program, source: Path) -> str:
    text = hashlib.sha256(repr(program).encode())
    for path in sorted(source.rglob("*")):
        if path.is_file():
            text.update(str(path.relative_to(source)).encode() + b"\0" + path.read_bytes())
    return text.hexdigest()[:12]


@contextmanager
def _build_lock(place: Path) -> Iterator[None]:
    """Lock out other builds of the same program."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(program: Program, source: Path, place: Path, binary: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise CannotBuild("the command `go` is not installed")
    print(f"building {binary.name} in {place}, once", file=sys.stderr)
    copy = place / "src"
    shutil.copytree(source, copy, dirs_exist_ok=True)
    part = place / "part"  # a build that is killed leaves no file of the final name
    verb = ["test", "-c"] if program.is_test else ["build"]
    tags = ["-tags", program.tags] if program.tags else []
    command = [go, *verb, "-mod=mod", *tags, "-ldflags", program.ldflags, "-o", str(part)]
    try:
        done = subprocess.run(
            [*command, program.package],
            cwd=copy,
            capture_output=True,
            text=True,
            check=False,
            timeout=_BUILD_SECONDS,
        )
    except subprocess.TimeoutExpired as exc:
        raise CannotBuild(f"the build takes more than {_BUILD_SECONDS} seconds") from exc
    if done.returncode != 0:
        raise CannotBuild(f"the build failed: {done.stderr.strip()[-600:]}")
    part.rename(binary)
