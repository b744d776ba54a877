"""Run kubectl against a served cluster; modules import the fixture."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from tests.programs import PATH, kubectl_binaries


@dataclass(kw_only=True)
class CommandResult:
    """The result of a finished command."""

    code: int
    out: str
    err: str


class Kubectl:
    """Runs one kubectl binary with the kubeconfig of a cluster."""

    def __init__(self, binary: str, environment: dict[str, str]) -> None:
        self._binary, self._environment = binary, environment

    async def start(self, *arguments: str, editor: str = "") -> asyncio.subprocess.Process:
        """Start a command; `editor` is its editor."""
        return await asyncio.create_subprocess_exec(
            self._binary,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment | {"KUBE_EDITOR": editor},
        )

    async def __call__(
        self, *arguments: str, given: str = "", code: int = 0, editor: str = ""
    ) -> CommandResult:
        """Run a command with an input, and check its exit status."""
        process = await self.start(*arguments, editor=editor)
        out, err = await asyncio.wait_for(process.communicate(given.encode()), 60)
        result = CommandResult(code=process.returncode or 0, out=out.decode(), err=err.decode())
        assert result.code == code, f"{arguments}: {result.out}{result.err}"
        return result


@pytest.fixture(params=["machine", "package"])
def kubectl(request: pytest.FixtureRequest, live: Any) -> Kubectl:
    """Return the kubectl of the machine, then that of the package."""
    binary = kubectl_binaries()[request.param]
    if not binary:
        pytest.skip(f"the kubectl of the {request.param} is not installed")
    (live.folder / "home").mkdir()
    environment = {
        "HOME": str(live.folder / "home"),
        "KUBECONFIG": str(live.kubeconfig()),
        "PATH": PATH,
    }
    return Kubectl(str(binary), environment)
