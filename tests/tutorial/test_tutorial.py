"""The AKS tutorial with the released Azure CLI and kubectl, as `make tutorial` runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run_program import run_text

pytestmark = [pytest.mark.tutorial, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("az", ["newest", "oldest"])
def test_tutorial_runs_as_its_page_describes(az: str, tmp_path: Path) -> None:
    # The sample is built first with the user's caches, because the tutorial runs with an empty home
    # directory.
    prepare = [sys.executable, "-m", "podpass.cli", "image", "prepare", "msal-go"]
    subprocess.run(prepare, capture_output=True, check=False)
    home = tmp_path / "home"
    home.mkdir()
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    done = run_text(
        [sys.executable, "-m", "podpass.cli", "tutorial", "--az", az, "--full"],
        env={**os.environ, "HOME": str(home), "XDG_CACHE_HOME": cache, "TMPDIR": str(tmp_path)},
    )
    if "cannot reach a package index" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr + done.stdout[-3000:]
    said = done.stdout
    assert re.search(
        r"^  pod/sample-workload-identity-key-vault condition met$", said, re.MULTILINE
    )
    assert re.search(r"^ +SECRET_NAME: +my-secret-[0-9a-f]{6}$", said, re.MULTILINE)
    assert '  "successfully got secret" secret="Hello!"' in said.splitlines()
    assert "pod/after-it-is-off created" in said
    assert re.search(
        r"^\$ kubectl get pod after-it-is-off .*\n  \(nothing printed, ", said, re.MULTILINE
    )
    if az == "oldest":
        # The second version is used if no Python for the first is found.
        assert re.search(r"^az (2\.47\.0|2\.54\.0)$", said, re.MULTILINE)
    assert re.search(r"The tutorial succeeded: \d+ commands", said)
    # The run has removed its keys and configuration and did not change the user's. pip's tools may leave a
    # folder during the installation of az.
    made = {entry.name for entry in home.iterdir()}
    assert not made & {".azure", ".kube", ".ssh", ".local", ".podpass"}
    assert not list(tmp_path.glob("podpass-tutorial-*"))


def _run_tutorial(folder: Path, option: str) -> str:
    """Run a complete tutorial with its temporary files in a folder; return its output."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    done = run_text(
        [sys.executable, "-m", "podpass.cli", "tutorial", option, "--full"],
        env={**os.environ, "XDG_CACHE_HOME": cache, "TMPDIR": str(folder)},
    )
    if "cannot reach a package index" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr + done.stdout[-3000:]
    return done.stdout


def test_pod_identity_migration_runs_as_its_page_describes(tmp_path: Path) -> None:
    """The commands of Microsoft's page about pod identity; the check of the logs is the command's own."""
    said = _run_tutorial(tmp_path, "--migrate")
    # The lines of the sidecar that Microsoft's page shows.
    for line in (
        "starting the proxy server",
        "received token request",
        "successfully acquired token",
    ):
        assert line in said
    assert "azwi-proxy" in said
    assert re.search(r"/legacy-serviceaccount\.yaml$", said, re.MULTILINE)
    assert re.search(r"The tutorial succeeded: \d+ commands", said)
    assert not list(tmp_path.glob("podpass-tutorial-*"))


def test_service_connector_page_ends_with_the_secret_in_a_pod(tmp_path: Path) -> None:
    """The commands of Microsoft's pages about Service Connector, with the newest az."""
    said = _run_tutorial(tmp_path, "--connect")
    assert "  secret: Hello!" in said.splitlines()
    assert re.search(r"The tutorial succeeded: \d+ commands", said)
    assert not list(tmp_path.glob("podpass-tutorial-*"))
