"""Log records of commands without a log file."""

import subprocess
import sys

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
