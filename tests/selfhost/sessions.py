"""Long-running released clients: each has one credential and requests a token on command."""

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.clients import installation as installing
from tests.clients import toolchains
from tests.clients.installation import find_tool, run_installation
from tests.clients.toolchains import NEWEST, OLDEST

PROGRAMS = Path(__file__).parent / "programs"
# A client waits longer and longer between its attempts while the database is away.
TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class SessionClient:
    """One package, oldest or newest, and how its program is started.

    `retries` is true if the library retries; otherwise the test's program retries.
    """

    name: str
    command: Callable[[], list[str]]
    variables: Callable[[], Mapping[str, str]] = dict
    retries: bool = True


def _python(package: str, kind: str, age: str, *, retries: bool = True) -> SessionClient:
    def command() -> list[str]:
        return [toolchains.python("answer", age)[0], str(PROGRAMS / "session.py"), kind]

    return SessionClient(name=f"python-{package}-{age}", command=command, retries=retries)


def _node(package: str, kind: str, age: str, *, retries: bool = True) -> SessionClient:
    def folder() -> Path:
        return Path(toolchains.node("answer", age)[1]).parent

    return SessionClient(
        name=f"node-{package}-{age}",
        command=lambda: [find_tool("node"), str(PROGRAMS / "session.cjs"), kind],
        variables=lambda: {"NODE_PATH": str(folder() / "node_modules")},
        retries=retries,
    )


def _go(age: str) -> SessionClient:
    def command() -> list[str]:
        pinned = [installing.PROGRAMS / "go" / age / name for name in ("go.mod", "go.sum")]
        build = [find_tool("go"), "build", "-mod=readonly", "-o", "session", "session.go"]
        files = [*pinned, PROGRAMS / "session.go"]
        return [str(run_installation(f"go-session-{age}", files, build, newest=False) / "session")]

    return SessionClient(name=f"go-azidentity-{age}", command=command)


def _java(age: str) -> SessionClient:
    def command() -> list[str]:
        *java, path, _ = toolchains.java("AzureIdentity", age)
        # Java compiles a program of one source file when it starts it.
        return [*java, path, str(PROGRAMS / "Session.java")]

    return SessionClient(name=f"java-azure-identity-{age}", command=command)


CLIENTS = (
    _python("azure-identity", "azure", OLDEST),
    _python("azure-identity", "azure", NEWEST),
    _python("azure-identity-aio", "aio", NEWEST),
    _python("msal", "msal", NEWEST, retries=False),
    _node("identity", "azure", OLDEST),
    _node("identity", "azure", NEWEST),
    _node("msal-node", "msal", NEWEST, retries=False),
    _go(OLDEST),
    _go(NEWEST),
    _java(NEWEST),
)


class Session:
    """A running program with its credential."""

    def __init__(self, client: SessionClient, environ: Mapping[str, str]) -> None:
        self.asks_again = not client.retries
        self._command = client.command()
        self._environ = {**environ, **client.variables()}

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**self._environ, "PATH": os.environ["PATH"]},
            limit=1024 * 1024,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()

    async def request_token(self, scope: str) -> Mapping[str, str]:
        """Make the program request a token; return its response: `token` or `error`."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{scope}\n".encode())
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while line := await stdout.readline():
                if line.startswith(b"{"):
                    return dict(json.loads(line))
        return {"error": f"the program exited with {await self._process.wait()}"}
