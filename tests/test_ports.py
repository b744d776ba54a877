"""Ports that tests reserve."""

import sys
import threading

from tests.ports import exclusive_port, free_port
from tests.run_program import run_text


def test_reserved_ports_are_closed_when_the_process_exits() -> None:
    code = "from tests.ports import free_base, free_port; free_base(2); free_port()"
    done = run_text([sys.executable, "-X", "dev", "-c", code], check=True)
    assert done.stderr == ""


def test_exclusive_port_is_given_to_one_run_at_a_time() -> None:
    port, entered = free_port(), threading.Event()

    def enter() -> None:
        with exclusive_port(port):
            entered.set()

    other = threading.Thread(target=enter)
    with exclusive_port(port):
        other.start()
        assert not entered.wait(0.2)
    assert entered.wait(30)
    other.join()
