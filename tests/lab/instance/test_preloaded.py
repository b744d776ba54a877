"""Commands in forked processes: each has its own environment, also in modules that were imported before."""

from pathlib import Path

import pytest

from tests.lab.instance import preloaded

USUAL = {"NAME": "usual"}
MAIN = "import os, reader.at_import\nprint(reader.at_import.NAME, os.environ['NAME'])\n"


def test_command_with_another_environment_imports_its_program_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reader").mkdir()
    (tmp_path / "reader/__init__.py").touch()
    (tmp_path / "reader/__main__.py").write_text(MAIN)
    (tmp_path / "reader/at_import.py").write_text("import os\nNAME = os.environ['NAME']\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    # After the first command, the server itself has imported the module.
    for name in ("usual", "usual", "other", "usual"):
        done = preloaded.run([], {"NAME": name}, program="reader", usual_environ=USUAL)
        assert done.stdout.split() == [name, name], done.stderr
