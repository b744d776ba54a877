"""A complete run of the tutorial with a fake az and a fake kubectl."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from podpass.lab.tutorial.play import TutorialFailed, TutorialOptions, run_tutorial

pytestmark = pytest.mark.processes

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OPTIONS = TutorialOptions(az="2.74.0")
# Replaces the Python of the Azure CLI: its arguments are `-m azure.cli` and those of az.
AZ = """
case "$3 $4" in
  "keyvault secret") test -z "$BROKEN" || { echo "ERROR: (Forbidden)" >&2; exit 1; } ;;
  "account show") echo "$HOME" ;;
esac
"""
KUBECTL = """
case "$1" in
  apply) cat > /dev/null ;;
  describe) printf 'SECRET_NAME: s\\n1\\n2\\n3\\n4\\n5\\n6\\n7\\n' ;;
  logs) echo '"successfully got secret" secret="Hello!"' ;;
esac
"""


def program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    tools, cache = tmp_path / "bin", tmp_path / "cache"
    program(tools / "kubectl", KUBECTL)
    program(tools / "go", "touch sample")
    program(cache / "podpass" / "az" / "2.74.0" / "bin" / "python", AZ)
    (cache / "podpass" / "az" / "2.74.0" / ".complete").touch()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return {
        "PATH": f"{tools}:/usr/bin:/bin",
        "XDG_CACHE_HOME": str(cache),
        "HOME": str(tmp_path / "home"),
        "AZURE_CONFIG_DIR": "of the user",
    }


def test_each_command_is_printed_under_its_heading_with_its_output(
    environ: Mapping[str, str], tmp_path: Path
) -> None:
    said: list[str] = []
    run_tutorial(OPTIONS, environ, NOW, said.append)
    text = "\n".join(said)
    assert "\n# A resource group\n$ az group create --name tutorial-" in text
    assert "\n  SECRET_NAME: s\n  1\n  2\n  3\n  4\n  5\n  ... 2 more lines\n" in text
    assert '\n  "successfully got secret" secret="Hello!"\n' in text
    assert said[-1].startswith("\nThe tutorial succeeded: 26 commands in ")
    # The home directory of the run was removed with its folder.
    assert f"\n  {tmp_path / 'tmp'}/podpass-tutorial-" in text
    assert list((tmp_path / "tmp").iterdir()) == []


def test_failed_command_ends_the_tutorial_and_is_named(
    environ: Mapping[str, str], tmp_path: Path
) -> None:
    said: list[str] = []
    with pytest.raises(TutorialFailed) as failed:
        run_tutorial(OPTIONS, {**environ, "BROKEN": "yes"}, NOW, said.append)
    assert "`az keyvault secret set --vault-name vault-" in failed.value.message
    assert failed.value.message.endswith("exited with 1")
    assert said[-1].startswith("  ERROR: (Forbidden)\n")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_interrupted_tutorial_leaves_no_instance_and_no_script(
    environ: Mapping[str, str], tmp_path: Path
) -> None:
    def echo(text: str) -> None:
        if text.startswith("$ kubectl wait"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tutorial(OPTIONS, environ, NOW, echo)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert str(tmp_path / "tmp") not in "".join(
        path.read_text(errors="replace") if path.exists() else ""
        for path in Path("/proc").glob("[0-9]*/cmdline")
    )


def test_missing_shell_is_reported_before_the_start(tmp_path: Path) -> None:
    environ = {"PATH": str(tmp_path)}
    with pytest.raises(TutorialFailed) as failed:
        run_tutorial(OPTIONS, environ, NOW, print)
    assert "the tutorial needs bash" in failed.value.message


def test_keep_option_keeps_the_folder(environ: Mapping[str, str], tmp_path: Path) -> None:
    said: list[str] = []
    run_tutorial(TutorialOptions(az="2.74.0", keep=True, full=True), environ, NOW, said.append)
    (kept,) = (tmp_path / "tmp").iterdir()
    assert said[-1] == f"data dir   {kept}"
    assert "more lines" not in "\n".join(said)
    assert (kept / "data" / "podpass.log").exists()
