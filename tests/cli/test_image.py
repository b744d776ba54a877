"""`podpass image` and the samples of the documentation."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from podpass.lab.cluster.samples.model import REPOSITORY
from tests.lab.instance.instances import Podpass


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
    assert net["todo"] == "install the .NET SDK, 8 or newer"
    table = podpass("image", "list", env=environ).stdout
    assert "REASON" in table
    assert "install Go 1.23 or newer" in table
    assert "Name the program of an image with" not in table


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
    tool(tmp_path, "mine", "exit 0")
    podpass("image", "add", f"{REPOSITORY}/msal-go", "--", str(tmp_path / "bin" / "mine"))
    (tmp_path / "bin" / "mine").unlink()
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


def stored_images(podpass: Podpass) -> dict[str, object]:
    stored: dict[str, object] = json.loads((podpass.data_dir / "images.json").read_text())
    return stored


def test_relative_paths_of_an_added_image_become_absolute(podpass: Podpass, tmp_path: Path) -> None:
    """A container starts in another folder than `podpass image add`."""
    environ, folder = {"PATH": str(tmp_path / "bin")}, tmp_path / "bin"
    folder.mkdir()
    tool(tmp_path, "app", "exit 0")
    (folder / "conf").touch()
    words = ("./app", "../bin/conf", "./absent", "conf")
    done = podpass("image", "add", "app", "--", *words, env=environ, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert stored_images(podpass)["app"] == [
        *(f"{folder}/app", f"{folder}/conf", "./absent", "conf")
    ]
    assert "write ./conf" in done.stderr
    podpass("image", "add", "--cmd", "app", "--", "./app", env=environ, cwd=folder)
    assert stored_images(podpass)["app"] == {"entrypoint": [], "command": [f"{folder}/app"]}


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("./gone", "gone does not exist"),
        ("no-such-program", "no-such-program is neither next to this Python nor on the PATH"),
        ("/no/such/program", "/no/such/program is neither next to this Python nor on the PATH"),
        ("./data", "data is not executable"),
    ],
)
def test_program_that_cannot_start_is_not_added(
    podpass: Podpass, tmp_path: Path, program: str, said: str
) -> None:
    (tmp_path / "data").touch()
    done = podpass("image", "add", "app", "--", program, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (podpass.data_dir / "images.json").exists()


def test_running_build_is_listed_with_its_step_and_its_last_output(
    podpass: Podpass, environ: dict[str, str], tmp_path: Path
) -> None:
    tool(tmp_path, "go", "echo go: downloading a module; read line < " + str(tmp_path / "gate"))
    os.mkfifo(tmp_path / "gate")
    prepare = subprocess.Popen(
        podpass.command("image", "prepare", "msal-go"), env=podpass.environ | environ
    )
    try:
        with (tmp_path / "gate").open("w"):  # opens when the build runs
            listed = json.loads(podpass("image", "list", "-o", "json", env=environ).stdout)
    finally:
        prepare.kill()
        prepare.wait()
    (row,) = [each for each in listed if each["name"].endswith("msal-go")]
    assert row["ready"] is False
    assert re.match("being built for [0-9]+ s, step 1 of 1: fetching MSAL for Go", row["why"])
    assert row["why"].endswith("; go: downloading a module")
    listed = json.loads(podpass("image", "list", "-o", "json", env=environ).stdout)
    (row,) = [each for each in listed if each["name"].endswith("msal-go")]
    assert row["why"] == "it is not built yet"
