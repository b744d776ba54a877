"""The edge of the command line: what a command logs, where nobody keeps a log."""

import subprocess
import sys

CODE = """
import logging
from podpass.cli import edge
edge.run(["--version"])
logging.getLogger("podpass.exchange.signing.key_set").warning("old_key_files_left", extra={"folder": "a\\nb"})
logging.getLogger("psycopg").warning("query not terminated")
logging.getLogger("podpass").info("not_told")
"""


def test_what_is_logged_is_told_with_its_facts() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0
    first, second = done.stderr.splitlines()
    assert first.endswith(r"warning old_key_files_left folder='a\nb'")
    assert "query not terminated" in second
