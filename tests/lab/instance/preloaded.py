"""Run a command line in processes that need not import its modules.

A command of podpass imports modules for 0.3 s, one of `az` for 0.5 s to 2 s, and the tests run thousands. A
server imports all of them once for each test run, and forks for each command. A command has its own process,
environment, files and exit code, as with `python -m podpass.cli`. Tests of start and end start real ones.

The Python of `az` runs this module, too, 3.9 or newer: it imports nothing but the standard library.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PODPASS = "podpass.cli"
AZ = "azure.cli"
_SECONDS = 120
_MESSAGE_BYTES = 1 << 20
_ROOT = Path(__file__).parents[3]
# What commands import only when they need it.
_LATER = ("aiohttp", "alembic.command", "podpass.lab.instance.run_local", "rich.console")
_NOT_SHARED = ("__main__", "__mp_main__", "tests")


def run(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    *,
    cwd: Path | None = None,
    given: str = "",
    program: str = PODPASS,
    python: str = sys.executable,
    usual_environ: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command with a text on its standard input.

    `usual_environ` is the environment of most commands. A program that reads the environment at import needs
    it; a command with another environment imports the program's modules again. Raises TimeoutError.
    """
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3)]
        files[0].write(given)
        files[0].seek(0)
        connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        connection.settimeout(_SECONDS)
        usual = None if usual_environ is None else json.dumps(dict(usual_environ))
        connection.connect(_server_address(python, program, _network(), usual))
        request = json.dumps([list(arguments), dict(environ), str(cwd or Path.cwd())]).encode()
        socket.send_fds(connection, [request], [file.fileno() for file in files])
        code = int(connection.recv(_MESSAGE_BYTES))
        for file in files[1:]:
            file.seek(0)
        return subprocess.CompletedProcess(arguments, code, files[1].read(), files[2].read())


def _network() -> str:
    """Return the network namespace of this thread, which its commands share."""
    try:
        return str(Path("/proc/thread-self/ns/net").readlink())
    except OSError:
        return ""


@functools.cache
def _server_address(python: str, program: str, _network: str, usual_environ: str | None) -> str:
    """Start the server of a program in this network; return its address. It ends with this process."""
    address = f"\0podpass-tests-{os.getpid()}-{os.urandom(8).hex()}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen(32)
    code = (
        f"from tests.lab.instance import preloaded; preloaded.serve({program!r}, {usual_environ!r})"
    )
    command = [python, "-c", code]
    # `tests/process_reaper.py` ends it with the run.
    files = [(os.POSIX_SPAWN_DUP2, listener.fileno(), 0)]
    with listener:
        # `make rules` names the copy of the sources in PYTHONPATH.
        paths = [*os.environ.get("PYTHONPATH", "").split(os.pathsep), str(_ROOT)]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        os.posix_spawn(command[0], command, environ, file_actions=files)
    return address


def serve(program: str, usual_environ: str | None) -> None:
    """Fork for each connection on the socket that is standard input, and run a command of the program."""
    if usual_environ is not None:
        _set_environ(json.loads(usual_environ))
    main = _podpass() if program == PODPASS else _module(program)
    reports, report = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=os.dup(0)) as listener:
        while True:
            gc.freeze()
            connection, _ = listener.accept()
            _import_reported(reports)
            if not os.fork():
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, files, _, _ = socket.recv_fds(connection, _MESSAGE_BYTES, 3)
    if command := os.fork():
        connection.send(str(os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])).encode())
        os._exit(0)
    connection.close()
    arguments, environ, cwd = json.loads(request)
    if usual_environ is not None and environ != json.loads(usual_environ):
        _forget(program)
    _enter(files, arguments, environ, cwd)
    _end(main, report)


def _podpass() -> Callable[[], object]:
    """Import every command of podpass; return its main function."""
    cli = importlib.import_module(PODPASS)
    main: Callable[[], object] = cli.main  # before the module of this name takes its place
    for module in pkgutil.iter_modules(cli.__path__):
        # A command of an extra that is not installed.
        with contextlib.suppress(ImportError):
            if not module.name.startswith("__"):
                importlib.import_module(f"{PODPASS}.{module.name}")
    for name in _LATER:
        importlib.import_module(name)
    return main


def _module(program: str) -> Callable[[], object]:
    """Return a function that does the same as `python -m` with a module."""
    return functools.partial(runpy.run_module, program, run_name="__main__", alter_sys=True)


def _import_reported(reports: socket.socket) -> None:
    """Import what earlier commands had to import."""
    names: set[str] = set()
    with contextlib.suppress(BlockingIOError):
        while True:
            names |= set(json.loads(reports.recv(_MESSAGE_BYTES, socket.MSG_DONTWAIT)))
    for name in sorted(names - set(sys.modules)):
        # Some modules can be imported only by another one.
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def _forget(program: str) -> None:
    """Remove the modules of a program, so that the command imports them with its own environment."""
    for name in [each for each in sys.modules if f"{each}.".startswith(f"{program}.")]:
        del sys.modules[name]


def _set_environ(environ: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environ)


def _enter(files: list[int], arguments: list[str], environ: dict[str, str], cwd: str) -> None:
    """Take over files, arguments, environment and folder of a command."""
    for standard, file in enumerate(files):
        os.dup2(file, standard)
        os.close(file)
    _set_environ(environ)
    os.chdir(cwd)
    sys.argv = [str(_ROOT / "src/podpass/cli/__main__.py"), *arguments]


def _end(main: Callable[[], object], report: socket.socket) -> None:
    """Run a command line, and end as an interpreter does but for freeing all modules, which takes 50 ms."""
    code: object = 1
    shared = set(sys.modules)
    try:
        main()
        code = 0
    except SystemExit as exc:
        code = exc.code or 0
    except BaseException:  # noqa: BLE001 the interpreter would print it, too
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    names = [each for each in set(sys.modules) - shared if not each.startswith(_NOT_SHARED)]
    with contextlib.suppress(BlockingIOError):
        report.send(json.dumps(names).encode(), socket.MSG_DONTWAIT)
    os._exit(code if isinstance(code, int) else 1)
