"""Log records of commands without a log file."""

import sys
from pathlib import Path

import pytest

from podpass.cli.main import FAILED, USAGE_ERROR, run
from podpass.cli.output import print_message
from podpass.errors import Error
from tests.run_program import run_text

CODE = """
import logging
from podpass.cli.main import run
run(["--version"])
logger = logging.getLogger("podpass.exchange.signing.key_set")
logger.warning("signing_keys_damaged", extra={"folder": "a\\nb"})
logging.getLogger("psycopg").warning("query not terminated")
logging.getLogger("podpass").info("not_printed")
"""


def test_log_warnings_are_printed_with_their_facts() -> None:
    done = run_text([sys.executable, "-c", CODE], timeout=60)
    assert done.returncode == 0
    first, second = done.stderr.splitlines()
    assert first.endswith(r"warning signing_keys_damaged folder='a\nb'")
    assert "query not terminated" in second


def test_control_characters_in_a_message_do_not_reach_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An API server, a webhook or a pod chooses the text of its error."""

    def fail(*_: object, **__: object) -> None:
        raise Error("no\x1b]0;x\x07\x9b2J\u202e\nsecond", hint="try\x1b[2J again")

    monkeypatch.setattr("podpass.cli.commands.cli.main", fail)
    assert run(["doctor"]) == FAILED
    print_message("not read: \x1b[2J\u4e2d")
    assert capsys.readouterr().err.splitlines() == [
        r"podpass: no\x1b]0;x\x07\x9b2J\u202e",
        "second",
        r"  try\x1b[2J again",
        "not read: \\x1b[2J\u4e2d",
    ]


@pytest.mark.parametrize(("is_link", "named"), [(True, "azwi"), (False, "podpass azwi")])
def test_hint_names_the_command_that_was_called(
    capsys: pytest.CaptureFixture[str], is_link: bool, named: str
) -> None:
    assert run(["azwi", "serviceaccount", "creat"], is_link=is_link) == FAILED
    assert f"{named} serviceaccount --help`" in capsys.readouterr().err
    assert run(["azwi", "--help"], is_link=is_link) == 0
    assert capsys.readouterr().out.startswith(f"Usage: {named} [OPTIONS]")


def test_graph_without_an_instance_says_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KUBECONFIG", "PODPASS_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_CONFIG_DIR", str(tmp_path))
    assert run(["graph", "--data-dir", str(tmp_path / "none")]) == USAGE_ERROR
    said = capsys.readouterr().err
    assert "no instance is running" in said
    assert "up --detach`" in said
