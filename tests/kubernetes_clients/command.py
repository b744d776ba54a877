"""Runs a command line client with the kubeconfig of a cluster."""

import asyncio
from pathlib import Path
from typing import Any

from tests.lab.instance.kubectl import PATH

_SECONDS = 300


class CommandLineClient:
    """One program; a call runs it, checks its exit code and returns its output."""

    def __init__(self, binary: Path, live: Any) -> None:
        self._binary = binary
        home = live.folder / f"home-{binary.name}"
        home.mkdir(exist_ok=True)
        self.environ = {"HOME": str(home), "KUBECONFIG": str(live.kubeconfig()), "PATH": PATH}
        self.stderr = ""  # stderr of the last run

    async def __call__(
        self, *arguments: str, given: str = "", code: int = 0, **environ: str
    ) -> str:
        """Run it with `given` as stdin; after a failure the result includes stderr."""
        process = await asyncio.create_subprocess_exec(
            str(self._binary),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environ | environ,
        )
        out, err = await asyncio.wait_for(process.communicate(given.encode()), _SECONDS)
        self.stderr = err.decode()
        assert process.returncode == code, f"{arguments}: {out.decode()}{self.stderr}"
        return out.decode() if code == 0 else out.decode() + self.stderr
