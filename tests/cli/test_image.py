"""`podpass image` and the samples of the documentation."""

import json
from pathlib import Path

import pytest

from podpass.local.samples.model import REPOSITORY
from tests.local.instances import Podpass


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a machine with an empty cache and no language tools."""
    (tmp_path / "bin").mkdir()
    return {"PATH": str(tmp_path / "bin"), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def tool(tmp_path: Path, name: str, script: str) -> None:
    path = tmp_path / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_samples_are_listed_with_their_missing_tools(
    podpass: Podpass, environ: dict[str, str]
) -> None:
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
    assert "REASON" in table
    assert "install Go 1.23 or newer; then: podpass image prepare msal-go" in table


def test_prepared_sample_is_ready_and_a_replaced_sample_is_not_listed(
    podpass: Podpass, environ: dict[str, str], tmp_path: Path
) -> None:
    tool(tmp_path, "go", "/usr/bin/touch sample || /bin/touch sample")
    done = podpass("image", "prepare", f"{REPOSITORY}/msal-go:latest", env=environ)
    assert done.returncode == 0, done.stderr
    assert "msal-go: built" in done.stderr
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
        (["msal-go", "--all"], 2, "pass one sample name, or --all"),
        (["nginx"], 2, "nginx is not a sample of the documentation"),
        (["msal-go"], 1, "install Go 1.23 or newer; then run it again"),
    ],
)
def test_sample_that_cannot_be_built_is_refused_with_a_hint(
    podpass: Podpass, environ: dict[str, str], arguments: list[str], code: int, said: str
) -> None:
    done = podpass("image", "prepare", *arguments, env=environ)
    assert done.returncode == code
    assert said in done.stderr


def test_prepare_all_builds_possible_samples_and_names_the_others(
    podpass: Podpass, environ: dict[str, str], tmp_path: Path
) -> None:
    tool(tmp_path, "go", "exit 1")
    tool(tmp_path, "dotnet", "exit 0")
    done = podpass("image", "prepare", "--all", env=environ)
    said = done.stderr.splitlines()
    assert done.returncode == 1
    assert "msal-python: already built" in said
    assert any(line.startswith("msal-node: skipped. ") for line in said)
    assert any(line.startswith("msal-go: failed. ") for line in said)
    assert f"msal-net: built; containers with the image {REPOSITORY}/msal-net run it" in said
    assert said[-1].startswith("  the complete output is in ")
