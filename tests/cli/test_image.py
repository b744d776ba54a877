"""`podpass image` and the documentation's samples."""

import json
from pathlib import Path

import pytest

from podpass.local.samples.model import REPOSITORY
from tests.local.instances import Podpass


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A machine with an empty cache and no languages."""
    (tmp_path / "bin").mkdir()
    return {"PATH": str(tmp_path / "bin"), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def tool(tmp_path: Path, name: str, script: str) -> None:
    path = tmp_path / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_samples_are_listed_with_what_they_lack(podpass: Podpass, environ: dict[str, str]) -> None:
    listed = json.loads(podpass("image", "list", "-o", "json", env=environ).stdout)
    rows = {row["name"]: row for row in listed if row["origin"] == "sample"}
    assert sorted(rows) == [
        f"{REPOSITORY}/msal-{each}" for each in ("go", "java", "net", "node", "python")
    ]
    assert rows[f"{REPOSITORY}/msal-python"]["ready"]
    net = rows[f"{REPOSITORY}/msal-net"]
    assert (net["ready"], net["why"]) == (False, "dotnet is not on the PATH")
    assert net["todo"].endswith("podpass image prepare msal-net")
    table = podpass("image", "list", env=environ).stdout
    assert "WHY NOT" in table
    assert "install Go 1.23 or newer; then: podpass image prepare msal-go" in table


def test_a_prepared_sample_is_ready_and_one_that_was_replaced_is_gone(
    podpass: Podpass, environ: dict[str, str], tmp_path: Path
) -> None:
    tool(tmp_path, "go", "/usr/bin/touch sample || /bin/touch sample")
    done = podpass("image", "prepare", f"{REPOSITORY}/msal-go:latest", env=environ)
    assert done.returncode == 0, done.stderr
    assert "msal-go: ready" in done.stderr
    (tmp_path / "bin" / "go").unlink()

    def row() -> tuple[str, bool]:
        listed = json.loads(podpass("image", "list", "-o", "json", env=environ).stdout)
        (found,) = [each for each in listed if each["name"].endswith("msal-go")]
        return found["origin"], found["ready"]

    assert row() == ("sample", True)
    podpass("image", "add", f"{REPOSITORY}/msal-go", "--", "no-such-program")
    assert row() == ("added", False)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "the samples are: msal-python, msal-node, msal-go, msal-java, msal-net"),
        (["msal-go", "--all"], 2, "name one sample, or give --all"),
        (["nginx"], 2, "nginx is no sample of the documentation"),
        (["msal-go"], 1, "install Go 1.23 or newer; then run this again"),
    ],
)
def test_what_cannot_be_prepared_says_what_to_do(
    podpass: Podpass, environ: dict[str, str], arguments: list[str], code: int, said: str
) -> None:
    done = podpass("image", "prepare", *arguments, env=environ)
    assert done.returncode == code
    assert said in done.stderr


def test_all_that_can_be_built_is_and_the_rest_is_named(
    podpass: Podpass, environ: dict[str, str], tmp_path: Path
) -> None:
    tool(tmp_path, "go", "exit 1")
    tool(tmp_path, "dotnet", "exit 0")
    done = podpass("image", "prepare", "--all", env=environ)
    said = done.stderr.splitlines()
    assert done.returncode == 1
    assert "msal-python: ready already" in said
    assert any(line.startswith("msal-node: left out. ") for line in said)
    assert any(line.startswith("msal-go: failed. ") for line in said)
    assert f"msal-net: ready; pods with the image {REPOSITORY}/msal-net run it" in said
    assert said[-1].startswith("  all of it is in ")
