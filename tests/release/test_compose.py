"""The services of `compose.yaml` run in the image's file system, in one network, as Docker would start them.

Docker's own part is not tested: networks, volumes, and the order of the services.
"""

import json
import shutil
import sys
from typing import Any

import pytest
import yaml

from tests.deploy.image_root import ROOT, USER, run_script
from tests.lab.instance.kubectl import binaries
from tests.run_program import run_text

pytestmark = [
    pytest.mark.processes,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("ldd") is None, reason="assembling an image needs `ldd`"),
]

# It runs in a network of its own: starts the instance, waits until it is healthy, runs the other services.
_COMPOSE = """
import json, subprocess, sys
services = json.load(sys.stdin)
instance = subprocess.Popen(services["podpass"], stdout=sys.stderr)
try:
    while instance.poll() is None and subprocess.run(services["health"], stdout=sys.stderr).returncode:
        pass
    for name in ("cluster", "app"):
        print(subprocess.check_output(services[name], text=True), end="")
finally:
    instance.kill()
"""


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return found


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return bubblewrap's options of a container: the image with the extra of the file, and the volume."""
    if shutil.which("bwrap") is None:
        pytest.skip("running an image needs bubblewrap")
    folder = tmp_path_factory.mktemp("compose")
    root, instance = folder / "root", folder / "instance"
    run_script("root", str(root), "demo")
    instance.mkdir(mode=0o700)
    # Docker creates the targets of mounts.
    for name in ("instance", "app"):
        (root / name).mkdir()
    for name in ("seed.yaml", "service-account.yaml", "app/read_secret.py", "kubectl"):
        (root / name).touch()
    user = ("--unshare-pid", "--unshare-user", "--uid", str(USER), "--gid", str(USER))
    path = ("--clearenv", "--setenv", "PATH", "/usr/local/bin", "--ro-bind", str(root), "/")
    rest = (
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--tmpfs",
        "/tmp",
        "--bind",
        str(instance),
        "/instance",
    )
    return ["bwrap", "--die-with-parent", "--cap-drop", "ALL", *user, *path, *rest]


def _command(sandbox: list[str], service: dict[str, Any], command: list[str]) -> list[str]:
    """Return the command of a service with its mounts of single files."""
    mounts = [volume.split(":") for volume in service["volumes"] if volume.startswith("./")]
    binds = [("--ro-bind", str(ROOT / source), target) for source, target, _ in mounts]
    return [*sandbox, *(word for bind in binds for word in bind), "--", *command]


def test_services_share_an_instance_and_read_a_secret(
    compose: dict[str, Any], sandbox: list[str]
) -> None:
    services = compose["services"]
    kubectl = next((path for path in binaries().values() if path), "")
    if not kubectl:
        pytest.skip("there is no kubectl on this machine")
    # The image of kubectl has only this program, as its entrypoint: the command is without `kubectl`.
    with_kubectl = [*sandbox, "--ro-bind", kubectl, "/kubectl"]
    commands = {
        "podpass": _command(sandbox, services["podpass"], services["podpass"]["command"]),
        "health": _command(
            sandbox, services["podpass"], services["podpass"]["healthcheck"]["test"][1:]
        ),
        "cluster": _command(
            with_kubectl, services["cluster"], ["/kubectl", *services["cluster"]["command"]]
        ),
        "app": _command(sandbox, services["app"], services["app"]["command"]),
    }
    done = run_text(
        [
            *("bwrap", "--die-with-parent", "--unshare-net", "--dev-bind", "/", "/"),
            *(sys.executable, "-c", _COMPOSE),
        ],
        input=json.dumps(commands),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "serviceaccount/web created" in done.stdout
    assert done.stdout.splitlines()[-1] == "hello from the vault"


def test_services_are_in_the_network_of_the_instance(compose: dict[str, Any]) -> None:
    """An instance listens on loopback only; no port is published."""
    for name, service in compose["services"].items():
        assert "ports" not in service
        assert service.get("network_mode") == (None if name == "podpass" else "service:podpass")


def test_containers_have_a_read_only_root_and_no_capability(compose: dict[str, Any]) -> None:
    for name in ("podpass", "app"):
        service = compose["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
