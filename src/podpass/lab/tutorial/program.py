"""Run the podpass command line on a data directory, as a child process."""

import asyncio
import signal
import sys
from pathlib import Path

from podpass.errors import Error


async def run_podpass(data_dir: Path, *arguments: str, failed: type[Error]) -> str:
    """Run a podpass command and return its output. Raises `failed`, with the last lines of the output.

    A cancellation interrupts the command and waits until it ends. It does not interrupt `down`.
    """
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "podpass.cli", *arguments, "--data-dir", str(data_dir)),
        stdout=pipe,
        stderr=pipe,
        # Ctrl-C must not reach the child: an interrupted `down` would leave the instance running.
        start_new_session=True,
    )
    reading = asyncio.ensure_future(child.communicate())
    try:
        await asyncio.shield(reading)
    except asyncio.CancelledError:
        if arguments[0] != "down" and child.returncode is None:
            child.send_signal(signal.SIGINT)
        await reading
        raise
    printed, errors = (text.decode(errors="replace") for text in reading.result())
    if child.returncode != 0:
        lines = (errors or printed).strip().splitlines() or ["no output"]
        raise failed(f"podpass {arguments[0]}: {' '.join(lines[-2:])}")
    return printed
