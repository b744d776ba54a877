"""Both kubectls on a live cluster, as a fixture of the modules that import it."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from tests.local.kubectl import PATH, binaries


@dataclass(kw_only=True)
class Done:
    """A finished command."""

    code: int
    out: str
    err: str


Run = Callable[..., Coroutine[Any, Any, Done]]


@pytest.fixture(params=["machine", "package"])
def kubectl(request: pytest.FixtureRequest, live: Any) -> Run:
    """Run kubectl with the cluster's kubeconfig; `given` goes to its input, `editor` is what edits."""
    binary = binaries()[request.param]
    if not binary:
        pytest.skip(f"no kubectl of the {request.param} is here")
    (live.folder / "home").mkdir()
    environment = {
        "HOME": str(live.folder / "home"),
        "KUBECONFIG": str(live.kubeconfig()),
        "PATH": PATH,
    }

    async def run(*arguments: str, given: str = "", code: int = 0, editor: str = "") -> Done:
        process = await asyncio.create_subprocess_exec(
            binary,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment | {"KUBE_EDITOR": editor},
        )
        out, err = await asyncio.wait_for(process.communicate(given.encode()), 60)
        done = Done(code=process.returncode or 0, out=out.decode(), err=err.decode())
        assert done.code == code, f"{arguments}: {done.out}{done.err}"
        return done

    return run
