"""Installs a release from its folder in clean environments, and runs the demo and the charts."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import artifacts
import installed
import programs
import publish

_SERVING = re.compile(r"serving on port (\d+)")


def verify(dist: Path, version: str, root: Path, say: Callable[[str], None]) -> None:
    """Check the checksums, then run the wheel and the charts. Raises ProgramFailed."""
    say(f"checksums: {artifacts.check_sums(dist)} files")
    # Not below /tmp: a pod of an instance may have a /tmp of its own, and needs the interpreter.
    with tempfile.TemporaryDirectory(prefix="podpass-verify-", dir="/var/tmp") as folder:
        work = Path(folder)
        _wheel(dist, version, root, work, say)
        try:
            programs.find("helm")
            programs.find("crane")
            if (bwrap := shutil.which("bwrap")) is None:
                charts(dist, version, work, say)
            else:
                # In a network of its own: the chart's ports are free, and nothing can be sent.
                network = (
                    bwrap,
                    "--die-with-parent",
                    "--unshare-net",
                    "--dev-bind",
                    "/",
                    "/",
                    "--",
                )
                command = (
                    sys.executable,
                    str(Path(__file__).parent),
                    "--root",
                    str(root),
                    "charts",
                )
                folders = ("--dist", str(dist), "--work", folder)
                say(programs.run(*network, *command, *folders).rstrip())
        except (programs.ProgramMissing, installed.PortInUse) as exc:
            say(f"NOT VERIFIED: charts: {exc}")


def _wheel(dist: Path, version: str, root: Path, work: Path, say: Callable[[str], None]) -> None:
    """Install the wheel with the Azure SDK, and run the demo outside of the checkout."""
    (wheel,) = dist.glob("*.whl")
    python = programs.make_venv(work / "venv")
    programs.install(python, root / "constraints.txt", str(root / "kubeling"), f"{wheel}[demo]")
    podpass, environ = str(python.with_name("podpass")), installed.environment(work)
    found = programs.run(podpass, "--version", environ=environ, only=True, cwd=work).strip()
    if found != f"podpass {version}":
        raise programs.ProgramFailed(f"the wheel prints {found} instead of podpass {version}")
    output = programs.run(podpass, "demo", environ=environ, only=True, cwd=work)
    if "hello from the vault" not in output:
        raise programs.ProgramFailed(f"the demo did not read the secret:\n{output[-2000:]}")
    say("wheel: installed; its demo read the secret")


def charts(dist: Path, version: str, work: Path, say: Callable[[str], None]) -> None:
    """Upload images and charts to a registry on loopback, and install a chart from there.

    `work` contains the environment of the wheel in `venv`. Raises ProgramMissing, PortInUse, ProgramFailed.
    """
    helm, crane = programs.find("helm"), programs.find("crane")
    with _registry(crane, work) as registry:
        names = [publish.push(one) for one in publish.uploads(dist, registry, version)]
        say(f"registry on loopback: {len(names)} images and charts uploaded")
        options = ("--version", version, "--plain-http")
        charts = {name: f"oci://{registry}/charts/{name}" for name in artifacts.CHARTS}
        image = f"{registry}/podpass"
        values = ("--set", f"azureTenantID={installed.TENANT},image.repository={image}")
        rendered = programs.run(
            helm, "template", "webhook", charts["podpass"], *options, *values, environ=_home(work)
        )
        if f"image: {image}:{version}" not in rendered.replace('"', ""):
            raise programs.ProgramFailed("the chart podpass does not use the image of its version")
        say(f"chart podpass: rendered from the registry, with the image {version}")
        with installed.instance(work) as running:
            chart = (charts["podpass-authority"], *options)
            installed.install_authority(helm, chart, running)
        say("chart podpass-authority: installed from the registry; its service answered")


def _home(work: Path) -> dict[str, str]:
    return {"HOME": str(work), "XDG_CACHE_HOME": str(work / "cache")}


@contextlib.contextmanager
def _registry(crane: str, work: Path) -> Iterator[str]:
    """Run a registry on loopback that stores in a folder; yield its address."""
    folder = work / "registry"
    folder.mkdir()
    command = [crane, "registry", "serve", "--address", "127.0.0.1:0", "--disk", str(folder)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, **_home(work)}
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if found := _SERVING.search(line):
                    break
            else:
                raise programs.ProgramFailed("the registry on loopback did not start")
            yield f"127.0.0.1:{found[1]}"
        finally:
            process.kill()
