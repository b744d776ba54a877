"""The AKS tutorial, by the released Azure CLI and kubectl, as `make tutorial` runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.tutorial, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("az", ["newest", "oldest"])
def test_the_tutorial_goes_as_its_page_says(az: str, tmp_path: Path) -> None:
    # Built first, with the user's own caches: the run itself gets an empty home. It says if that failed.
    prepare = [sys.executable, "-m", "podpass.cli", "image", "prepare", "msal-go"]
    subprocess.run(prepare, capture_output=True, check=False)
    home = tmp_path / "home"
    home.mkdir()
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    done = subprocess.run(
        [sys.executable, "-m", "podpass.cli", "tutorial", "--az", az, "--full"],
        env={**os.environ, "HOME": str(home), "XDG_CACHE_HOME": cache, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if "reached no package index" in done.stderr:
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
        # The second where no Python is found that the first was made for.
        assert re.search(r"^az (2\.47\.0|2\.54\.0)$", said, re.MULTILINE)
    assert re.search(r"The tutorial went through: \d+ commands", said)
    # Keys and configuration of the run went with it; of the user's nothing was touched. (pip's own tools may
    # leave a folder of theirs while az is installed.)
    made = {entry.name for entry in home.iterdir()}
    assert not made & {".azure", ".kube", ".ssh", ".local", ".podpass"}
    assert not list(tmp_path.glob("podpass-tutorial-*"))
