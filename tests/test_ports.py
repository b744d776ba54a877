"""Ports that tests reserve."""

import subprocess
import sys


def test_reserved_ports_are_closed_when_the_process_exits() -> None:
    code = "from tests.ports import free_base, free_port; free_base(2); free_port()"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
