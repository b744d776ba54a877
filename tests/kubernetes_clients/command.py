"""A command line client with a cluster's kubeconfig."""

import asyncio
from pathlib import Path
from typing import Any

from tests.local.kubectl import PATH

_SECONDS = 300


class Command:
    """One program; called with arguments, it has to end as expected and gives what it printed."""

    def __init__(self, binary: Path, live: Any) -> None:
        self._binary = binary
        home = live.folder / f"home-{binary.name}"
        home.mkdir(exist_ok=True)
        self.environ = {"HOME": str(home), "KUBECONFIG": str(live.kubeconfig()), "PATH": PATH}
        self.told = ""  # on its second output, by the last run

    async def __call__(
        self, *arguments: str, given: str = "", code: int = 0, **environ: str
    ) -> str:
        """Run it; `given` goes to its input. A failure's complaints are part of what is given back."""
        process = await asyncio.create_subprocess_exec(
            str(self._binary),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environ | environ,
        )
        out, err = await asyncio.wait_for(process.communicate(given.encode()), _SECONDS)
        self.told = err.decode()
        assert process.returncode == code, f"{arguments}: {out.decode()}{self.told}"
        return out.decode() if code == 0 else out.decode() + self.told
