"""Start time and memory of an instance, compared with a bare interpreter and a bare server.

    python -m bench start

The interpreter is `python -c pass`; the server is uvicorn with uvloop and one constant response, the minimum
of a Python server of this kind.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROUNDS = 5
_PODPASS = [sys.executable, "-m", "podpass.cli"]
_BARE = """
import sys, uvicorn
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print("ready", flush=True)
how = dict(loop="uvloop", http="httptools", ws="none", lifespan="off", log_config=None)
config = uvicorn.Config(app, port=0, **how)
Server(config).run()
"""


def run() -> list[dict[str, str]]:
    """Measure and yield the rows of the table."""
    bare_seconds, bare_mb = _bare_server()
    interpreter = _median(lambda: _seconds([sys.executable, "-c", "pass"]))
    script = str(Path(sys.executable).parent / "podpass")
    commands = {
        "podpass --help": _median(lambda: _seconds([script, "--help"])),
        "podpass explain": _median(lambda: _seconds([script, "explain", "AADSTS700213"])),
    }
    fresh, again, memory = _loop()
    return [
        _row(
            "up to ready, new data dir", f"{fresh:.2f} s", fresh, bare_seconds, "bare uvicorn", "s"
        ),
        _row("up to ready, again", f"{again:.2f} s", again, bare_seconds, "bare uvicorn", "s"),
        _row(
            "memory of the instance (PSS)",
            f"{memory:.0f} MB",
            memory,
            bare_mb,
            "bare uvicorn",
            "MB",
        ),
        *(
            _row(
                name,
                f"{seconds * 1000:.0f} ms",
                seconds * 1000,
                interpreter * 1000,
                "python -c pass",
                "ms",
            )
            for name, seconds in commands.items()
        ),
    ]


def _row(
    name: str, shown: str, value: float, peer: float, peer_name: str, unit: str
) -> dict[str, str]:
    digits = 2 if unit == "s" else 0
    return {
        "name": name,
        "value": shown,
        "peer": f"{peer_name} {peer:.{digits}f} {unit}",
        "ratio": f"{value / peer:.1f}x",
    }


def _loop() -> tuple[float, float, float]:
    """Start instances; return the median seconds of first and later starts, and the idle memory in MB."""
    fresh, again, memory = list[float](), list[float](), list[float]()
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="podpass-bench-") as folder:
            environ = {**os.environ, "PODPASS_DATA_DIR": str(Path(folder) / "data")}
            for seconds in (fresh, again):
                with _instance(environ, seconds):
                    if seconds is again:
                        time.sleep(1)
                        memory.append(_tree_mb(_pid(Path(folder) / "data" / "lock")))
    return statistics.median(fresh), statistics.median(again), statistics.median(memory)


@contextmanager
def _instance(environ: Mapping[str, str], seconds: list[float]) -> Iterator[None]:
    seconds.append(_seconds([*_PODPASS, "up", "--detach", "--port-base", "0"], environ))
    try:
        yield
    finally:
        _seconds([*_PODPASS, "down"], environ)


def _bare_server() -> tuple[float, float]:
    seconds, memory = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        with subprocess.Popen([sys.executable, "-c", _BARE], stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            server.stdout.readline()
            seconds.append(time.perf_counter() - began)
            memory.append(_tree_mb(server.pid))
            server.terminate()
    return statistics.median(seconds), statistics.median(memory)


def _pid(lock: Path) -> int:
    return int(lock.read_text())


def _tree_mb(pid: int) -> float:
    """Return the proportional memory of a process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    below = [int(child) for child in children.read_text().split()] if children.exists() else []
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    own = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    return (int(own[1]) / 1024 if own else 0.0) + sum(map(_tree_mb, below))


def _seconds(command: list[str], environ: Mapping[str, str] | None = None) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=environ, check=True, capture_output=True)
    return time.perf_counter() - began


def _median(measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(ROUNDS))


def main() -> None:
    """Measure and print the rows."""
    for row in run():
        print(f"{row['name']:28} {row['value']:>10}   {row['peer']:>24}   {row['ratio']:>6}")


if __name__ == "__main__":
    main()
