"""Log records of commands without a log file."""

import subprocess
import sys

import pytest

from podpass.cli.main import FAILED, run
from podpass.cli.output import print_message
from podpass.errors import Error

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
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=False, timeout=60
    )
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
