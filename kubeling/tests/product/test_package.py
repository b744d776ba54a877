"""The wheel: installed alone, without podpass, it runs ordinary manifests for an unmodified kubectl."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.product.programs import SECONDS, kubectl, kubectl_binary, output, until

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
UNPRIVILEGED = 65534
INSTALL_SECONDS = 300
# Serves on an address that only this pod has, where pods share the network of the machine.
SERVER = (
    "import http.server, os\n"
    "handler = http.server.SimpleHTTPRequestHandler\n"
    "print('serving', flush=True)\n"
    "http.server.HTTPServer((os.environ['POD_IP'], 8000), handler).serve_forever()"
)
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "containers": [
                    {
                        "name": "web",
                        "image": "python:3.13",
                        "command": ["python", "-c", SERVER],
                        "ports": [{"containerPort": 8000}],
                        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
                        "env": [
                            {
                                "name": "POD_IP",
                                "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}},
                            }
                        ],
                    }
                ]
            },
        },
    },
}


@dataclass(frozen=True, kw_only=True)
class Installation:
    """The wheel, and the folder with the programs of an environment that has nothing else."""

    wheel: Path
    programs: Path


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    # Not a folder of pytest: other users may not enter these.
    with tempfile.TemporaryDirectory(prefix="kubeling-wheel-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=SECONDS)
        [wheel] = folder.glob("*.whl")
        environment = folder / "environment"
        subprocess.run([sys.executable, "-m", "venv", environment], check=True, timeout=SECONDS)
        install = [str(environment / "bin" / "pip"), "install", "-q", str(wheel)]
        done = subprocess.run(
            install, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
        )
        if done.returncode != 0 and "No matching distribution" in done.stderr:
            pytest.skip("the package index is not reachable")
        assert done.returncode == 0, done.stderr
        yield Installation(wheel=wheel, programs=environment / "bin")


def test_no_module_imports_podpass() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not [each for each in names if each.partition(".")[0] == "podpass"], path


@pytest.mark.timeout(INSTALL_SECONDS)
def test_wheel_has_kubeling_only_with_its_data(installation: Installation) -> None:
    names = zipfile.ZipFile(installation.wheel).namelist()
    packages = {name.partition("/")[0] for name in names}
    entry_points = next(name for name in names if name.endswith("entry_points.txt"))
    text = zipfile.ZipFile(installation.wheel).read(entry_points).decode()

    assert [each for each in packages if not each.endswith(".dist-info")] == ["kubeling"]
    assert "kubeling = kubeling.pytest_plugin" in text
    data = {path.relative_to(ROOT / "src") for path in (ROOT / "src").rglob("*.json")}
    assert {str(each) for each in data} <= set(names)


@pytest.mark.timeout(INSTALL_SECONDS)
def test_installed_alone_it_runs_a_deployment_for_kubectl(installation: Installation) -> None:
    listed = output([str(installation.programs / "pip"), "list", "--format", "json"])
    assert "podpass" not in {each["name"] for each in json.loads(listed)}
    environ = {"PATH": f"{installation.programs}:/usr/bin:/bin", "HOME": "/nonexistent"}
    with subprocess.Popen(
        ["kubeling", "up"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            path = Path(process.stdout.readline().strip())
            _use(path)
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert len(errors.splitlines()) == 1, errors


def _use(kubeconfig: Path) -> None:
    kubectl(kubeconfig, "apply", "-f", "-", given=json.dumps(DEPLOYMENT))
    kubectl(kubeconfig, "rollout", "status", "deployment/web", "--timeout=50s")
    kubectl(kubeconfig, "expose", "deployment/web", "--port=80", "--target-port=8000")

    assert "2/2" in kubectl(kubeconfig, "get", "deployment/web")
    assert "serving" in kubectl(kubeconfig, "logs", "deployment/web")
    address = kubectl(kubeconfig, "exec", "deploy/web", "--", "sh", "-c", "echo $POD_IP")
    assert address.count(".") == 3
    with subprocess.Popen(
        [
            *(kubectl_binary(), "--kubeconfig", str(kubeconfig)),
            *("port-forward", "service/web", ":80"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as forward:
        try:
            assert forward.stdout is not None
            line = forward.stdout.readline()  # Forwarding from 127.0.0.1:PORT -> 8000
            port = line.split(" -> ")[0].rpartition(":")[2]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as response:
                assert response.status == 200
        finally:
            forward.terminate()
    kubectl(kubeconfig, "delete", "deployment/web", "--wait")


@pytest.mark.timeout(INSTALL_SECONDS)
@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an unprivileged user")
def test_unprivileged_user_runs_pods(installation: Installation) -> None:
    if not (shutil.which("setpriv") and shutil.which("unshare")):
        pytest.skip("needs the programs setpriv and unshare of util-linux")
    script = (
        "id -u; kubectl run x --image=busybox --restart=Never --command -- sh -c 'echo hello; id -u';"
        " kubectl wait pod/x --for=jsonpath={.status.phase}=Succeeded --timeout=50s >&2;"
        " kubectl logs x"
    )
    folder = Path(tempfile.mkdtemp(prefix="kubeling-user-"))
    os.chown(folder, UNPRIVILEGED, UNPRIVILEGED)
    try:
        environ = {
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "PATH": f"{installation.programs}:{Path(kubectl_binary()).parent}:/usr/bin:/bin",
        }
        ids = [f"--reuid={UNPRIVILEGED}", f"--regid={UNPRIVILEGED}", "--clear-groups"]
        command = ["setpriv", *ids, "kubeling", "run", "--", "sh", "-c", script]
        found = output([*_open_interpreter(), *command], environ=environ)
    finally:
        shutil.rmtree(folder)
    lines = found.split()

    assert lines[0] == str(UNPRIVILEGED)
    assert lines[-2:] == ["hello", str(UNPRIVILEGED)]


def _open_interpreter() -> list[str]:
    """Return a command that lets every user read this Python, in a mount namespace of its own.

    The home folder of root, where the Python of a developer may be, is closed to other users.
    """
    base = Path(sys.base_prefix).resolve()
    closed = next(
        (each for each in reversed(base.parents) if not each.stat().st_mode & 0o001), None
    )
    if closed is None:
        return []
    script = (
        'set -e; hold=$(mktemp -d); mount --bind "$1" "$hold"; mount -t tmpfs -o mode=755 none "$0";'
        ' mkdir -p "$1"; mount --move "$hold" "$1"; rmdir "$hold"; shift; exec "$@"'
    )
    return ["unshare", "--mount", "sh", "-c", script, str(closed), str(base)]


def test_cluster_of_a_killed_process_leaves_no_container(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    command = ["sh", "-c", f"echo $$ > {mark}.part; mv {mark}.part {mark}; sleep 600"]
    code = (
        "import asyncio, json, os, sys, kubeling\n"
        "pod = json.loads(sys.argv[1])\n"
        "async def main():\n"
        "    async with kubeling.Cluster() as cluster:\n"
        "        await cluster.api.create('/api/v1/namespaces/default/pods', pod)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())"
    )
    pod = {
        "metadata": {"name": "long"},
        "spec": {"containers": [{"name": "app", "image": "none", "command": command}]},
    }
    process = subprocess.Popen([sys.executable, "-c", code, json.dumps(pod)])
    try:
        until(mark.exists)
    finally:
        process.kill()
        process.wait(SECONDS)

    until(lambda: not Path("/proc", mark.read_text().strip()).exists())
