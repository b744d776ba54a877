"""The pytest plugin: start of an instance, reset after a test, and what a session that does not use it pays.

    python -m bench plugin

The targets are those of the plugin: a start in 1.5 s, a reset in 50 ms, nothing for other sessions.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.rows import Row, row
from podpass.pytest.instance import Podpass

ROUNDS = 5
START_SECONDS = 1.5
RESET_MILLISECONDS = 50.0
_PLUGIN = "podpass.pytest.plugin"


def run() -> Iterator[Row]:
    """Measure and yield the rows of the table."""
    starts, resets, idle = list[float](), list[float](), list[float]()
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="podpass-bench-") as folder:
            began = time.perf_counter()
            podpass = Podpass.start(Path(folder))
            starts.append(time.perf_counter() - began)
            try:
                for number in range(ROUNDS):
                    _use(podpass, number)
                    resets.append(_milliseconds(podpass.reset))
                    idle.append(_milliseconds(podpass.reset))
            finally:
                podpass.stop()
    start = statistics.median(starts)
    yield row(
        "pytest plugin: start of an instance",
        f"{start:.2f} s",
        f"target {START_SECONDS} s",
        start / START_SECONDS,
        most=1,
    )
    for name, found in (("after a test", resets), ("without a change", idle)):
        took = statistics.median(found)
        yield row(
            f"pytest plugin: reset {name}",
            f"{took:.1f} ms",
            f"target {RESET_MILLISECONDS:.0f} ms",
            took / RESET_MILLISECONDS,
            most=1,
        )
    yield _unused()


def _use(podpass: Podpass, number: int) -> None:
    """Do what a test does: an identity, a vault, a ServiceAccount in a new namespace, a token."""
    web = podpass.create_identity("web", accounts=[f"shop-{number}/web"])
    podpass.create_vault(f"shop-vault-{number}", {"greeting": "hello"}, readers=[web])
    podpass.kubernetes.create_account(web.account, web.client_id)
    podpass.tokens.access_token(web)


def _unused() -> Row:
    """Compare `pytest` without tests, with the plugin and without it."""
    with tempfile.TemporaryDirectory(prefix="podpass-bench-") as folder:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        pairs = [
            (
                _pytest([*command, "-p", _PLUGIN], folder),
                _pytest([*command, "-p", f"no:{_PLUGIN}"], folder),
            )
            for _ in range(ROUNDS)
        ]
    with_it, without = (statistics.median(each) for each in zip(*pairs, strict=True))
    name = "pytest plugin: start of pytest in a session that does not use it"
    value, peer = f"{with_it * 1000:.0f} ms", f"without the plugin {without * 1000:.0f} ms"
    return row(name, value, peer, with_it / without, most=1.1)


def _pytest(command: list[str], folder: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=False, capture_output=True)
    return time.perf_counter() - began


def _milliseconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000
