"""The command `kubeling`."""

import contextlib
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from kubeling import __version__
from kubeling.errors import Error

if TYPE_CHECKING:
    import asyncio
    import subprocess

    from kubeling.instance import Cluster

_FOLDER = "KUBELING_DATA_DIR"
_NOT_EXECUTABLE, _NOT_FOUND, _BY_SIGNAL, _INTERRUPTED = 126, 127, 128, 130  # exit codes of a shell

# Identifies the processes of the command, which end with a `run` that is killed.
_RUN_VARIABLE = "KUBELING_RUN"
_READY_SECONDS = 5.0
# `--help` does not load the package that has these names; a test compares them.
_RELEASES = "Kubernetes release: 1.37, 1.36 or 1.35.  [default: 1.37]"
_DEFAULT_FOLDER = "$XDG_STATE_HOME/kubeling, or ~/.local/state/kubeling"
_OF_DETACHED = (
    f"Folder of the cluster.  [default: that of `kubeling up --detach`, {_DEFAULT_FOLDER}]"
)
_CHECK = "Check the spelling of the command after --, and PATH"

Command = TypeVar("Command", bound=Callable[..., Any])


def _parse_images(
    _context: click.Context, _option: click.Parameter, values: Sequence[str]
) -> dict[str, list[str]]:
    """Split each IMAGE=COMMAND, and each command as a shell does."""
    images = {}
    for value in values:
        image, _, text = value.partition("=")
        try:
            images[image] = shlex.split(text)
        except ValueError as exc:
            raise click.BadParameter(f"{text!r}: {exc}") from exc
        if not image or not images[image]:
            example = "nginx='python -m http.server 80'"
            raise click.BadParameter(f"{value!r} is not IMAGE=COMMAND, such as {example}")
    return images


def _cluster_options(command: Command) -> Command:
    """Add the options of a cluster."""
    for option in reversed(
        (
            click.option(
                "--node/--no-node",
                default=True,
                help="Run pods; without a node they stay pending.  [default: --node]",
            ),
            click.option(
                "--controllers/--no-controllers",
                default=True,
                help="Run the controllers of Kubernetes, such as that of Deployments."
                "  [default: --controllers]",
            ),
            click.option("--release", metavar="R", help=_RELEASES),
            click.option(
                "--issuer",
                metavar="URL",
                help="Issuer of ServiceAccount tokens.  [default: https://kubernetes.default.svc.cluster.local]",
            ),
            click.option(
                "--image",
                "images",
                metavar="IMAGE=COMMAND",
                callback=_parse_images,
                multiple=True,
                help="A command of this machine that runs in place of an image, such as"
                " nginx='python -m http.server 80'; repeatable.",
            ),
            click.option(
                "--verbose",
                "-v",
                is_flag=True,
                help="Write the log to stderr; with `up --detach` to kubeling.log in the data folder.",
            ),
        )
    ):
        command = option(command)
    return command


def _data_dir(help_text: str) -> Callable[[Command], Command]:
    return click.option(
        "--data-dir",
        envvar=_FOLDER,
        type=click.Path(file_okay=False, path_type=Path),
        metavar="D",
        help=f"{help_text}  [variable: {_FOLDER}]",
    )


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kubeling")
def cli() -> None:
    """A small Kubernetes in one process: no root, no container runtime, no download.

    `kubeling up --detach` starts one for your work, `kubeling run -- CMD` one for a command.
    """


@cli.command()
@_cluster_options
@_data_dir(
    "Folder that keeps the objects for the next start.  [default: a temporary folder; with --detach"
    f" {_DEFAULT_FOLDER}, whose objects are deleted with the cluster]"
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    default=0,
    help="Port of the API server.  [default: a free one]",
)
@click.option(
    "--detach",
    "-d",
    is_flag=True,
    help="Return when the cluster is ready; `kubeling down` ends it.",
)
@click.option("--temporary", is_flag=True, hidden=True)
def up(
    *,
    data_dir: Path | None,
    port: int,
    detach: bool,
    temporary: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Run a cluster until Ctrl-C; print the path of its kubeconfig."""
    import asyncio

    if detach:
        words = ["--port", str(port)]
        words += [f"--no-{name}" for name in ("node", "controllers") if not options[name]]
        for name in ("release", "issuer"):
            words += [f"--{name}", options[name]] if options[name] else []
        words += ["--verbose"] if verbose else []
        for image, command in options["images"].items():
            words += ["--image", f"{image}={shlex.join(command)}"]
        _start_detached(data_dir, words)
        return
    _write_log(verbose=verbose)
    from kubeling.instance import Cluster

    made = Cluster(data_dir, port=port, temporary=temporary, **options)
    if asyncio.run(_serve(made, data_dir)) == signal.SIGINT:
        raise KeyboardInterrupt


@cli.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_cluster_options
@click.argument("words", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
def run(*, words: tuple[str, ...], verbose: bool, **options: Any) -> None:
    """Run one command with a new cluster, and end the cluster after it.

    Example: kubeling run -- kubectl get nodes

    The command has KUBECONFIG. kubeling passes signals to the command, and exits with its exit code.
    """
    import asyncio

    _write_log(verbose=verbose)
    from kubeling.instance import Cluster

    if (code := asyncio.run(_run(Cluster(**options), words))) is None:
        raise KeyboardInterrupt
    sys.exit(code)


@cli.command()
@_data_dir(_OF_DETACHED)
def down(*, data_dir: Path | None) -> None:
    """End the cluster of `kubeling up --detach`; succeed if none runs."""
    import time

    folder = data_dir or _default_folder()
    if (pid := _running_pid(folder)) is None:
        click.echo(f"kubeling: no cluster runs in {folder}", err=True)
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGCONT)  # a stopped process would end only later
    for waited in range(300):
        if _running_pid(folder) is None:
            return
        if waited == 20:
            click.echo(f"kubeling: waiting until process {pid} ends", err=True)
        time.sleep(0.05)
    raise Error(f"process {pid} does not end", hint=f"end it with: kill -9 {pid}")


@cli.command()
@_data_dir(_OF_DETACHED)
@click.option(
    "--output",
    "-o",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of the output.",
)
def status(*, data_dir: Path | None, output: str) -> None:
    """Show whether a cluster is ready; exit with 1 if none is."""
    folder = data_dir or _default_folder()
    found: dict[str, Any] = {"ready": False, "data_dir": str(folder), **_find_running(folder)}
    problem = _find_problem(found, folder, data_dir) if "pid" in found else None
    found["ready"] = "pid" in found and problem is None
    if output == "json":
        click.echo(json.dumps(found, indent=2))
    elif found["ready"]:
        for name in ("server", "kubeconfig", "pid"):
            click.echo(f"{name + ':':12}{found[name]}")
    elif problem is not None:
        raise problem
    else:
        next_step = f"Start one: kubeling up --detach{_data_dir_option(data_dir)}"
        click.echo(f"kubeling: no cluster runs in {folder}. {next_step}", err=True)
    sys.exit(0 if found["ready"] else 1)


# ---------------------------------------------------------------------------------------------- processes


async def _serve(cluster: "Cluster", folder: Path | None) -> int | None:
    """Run a cluster until a signal; return the signal if it arrived before the cluster was ready."""
    import asyncio

    stop = asyncio.Event()
    ended_by: list[int] = []

    def end(number: int) -> None:
        ended_by.append(number)
        _cancel_start(starting)
        stop.set()

    async with contextlib.AsyncExitStack() as stack:
        starting = asyncio.create_task(stack.enter_async_context(cluster))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores a signal
                asyncio.get_running_loop().add_signal_handler(number, end, number)
        await asyncio.wait({starting})
        if ended_by and (starting.cancelled() or not starting.exception()):
            return ended_by[0]
        starting.result()
        if folder is not None:
            from kubeling.files import write_private

            facts = {
                "pid": os.getpid(),
                "server": cluster.server,
                "kubeconfig": str(cluster.kubeconfig),
                "ca_file": str(cluster.ca_file),
            }
            write_private(folder / "status.json", json.dumps(facts).encode())
        click.echo(cluster.kubeconfig)
        click.echo(_next_step(cluster.server, cluster.kubeconfig), err=True)
        try:
            await stop.wait()
        finally:
            if folder is not None:
                (folder / "status.json").unlink(missing_ok=True)
    return None


def _cancel_start(starting: "asyncio.Task[Any]") -> bool:
    """Cancel a start; return whether it was incomplete. A second signal does not interrupt its cleanup."""
    if not starting.cancelling():
        starting.cancel()
    return not starting.done()


def _next_step(server: str, kubeconfig: Path) -> str:
    return f"{server} is ready. Next: export KUBECONFIG={shlex.quote(str(kubeconfig))}; kubectl get nodes"


async def _run(cluster: "Cluster", words: Sequence[str]) -> int | None:
    """Run a command with a cluster; return its shell exit code, None if the start was interrupted."""
    import asyncio
    import secrets

    from kubeling.kubelet.orphan_reaper import OrphanReaper

    loop = asyncio.get_running_loop()
    child: asyncio.subprocess.Process | None = None
    pending: list[int] = []

    def pass_on(number: int) -> None:
        if number == signal.SIGINT and _cancel_start(starting):
            return
        if child is None:
            pending.append(number)
        # A terminal sends Ctrl-C to both processes; a second signal could interrupt the command's cleanup.
        elif child.returncode is None and not (has_terminal and number in of_terminal):
            child.send_signal(number)

    passed_on = [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]
    of_terminal = (signal.SIGINT, signal.SIGQUIT)
    has_terminal = _is_in_foreground()
    mark = f"{_RUN_VARIABLE}={secrets.token_hex(12)}"
    async with contextlib.AsyncExitStack() as stack:
        starting = asyncio.create_task(stack.enter_async_context(cluster))
        for number in (*passed_on, *of_terminal):
            loop.add_signal_handler(number, pass_on, number)
        await asyncio.wait({starting})
        if starting.cancelled():
            return None
        starting.result()
        await stack.enter_async_context(OrphanReaper(mark, cluster.kubeconfig.parent))
        environ = {**os.environ, **cluster.env()}  # noqa: TID251 the command inherits it
        environ[_RUN_VARIABLE] = mark.partition("=")[2]
        try:
            child = await asyncio.create_subprocess_exec(*words, env=environ)
        except OSError as exc:
            click.echo(f"kubeling: cannot run {words[0]}: {exc.strerror}. {_CHECK}", err=True)
            return _NOT_FOUND if isinstance(exc, FileNotFoundError) else _NOT_EXECUTABLE
        for waiting in pending:
            pass_on(waiting)
        code = await child.wait()
    return _BY_SIGNAL - code if code < 0 else code


def _is_in_foreground() -> bool:
    """Return whether a terminal sends its signals to this process."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _start_detached(data_dir: Path | None, words: Sequence[str]) -> None:
    """Start `kubeling up` with these options in the background; return when the cluster is ready."""
    import fcntl
    import shutil
    import subprocess

    from kubeling.files import create_private_folder

    folder = (data_dir or _default_folder()).absolute()
    create_private_folder(folder)
    starting = (folder / "starting").open("wb")
    # Until the end of this process: a second command waits, and then finds the cluster of the first.
    fcntl.flock(starting, fcntl.LOCK_EX)
    create_private_folder(folder)
    if found := _find_running(folder):
        if problem := _find_problem(found, folder, data_dir):
            raise problem
        said = f"a cluster runs already in {folder}, with the options of its start"
        click.echo(f"kubeling: {said}", err=True)
        click.echo(folder / "kubeconfig")
        return
    if data_dir is None:
        for file in folder.glob("kubernetes.db*"):  # of a cluster that was killed
            file.unlink()
        words = [*words, "--temporary"]
    with (folder / "kubeling.log").open("w+b") as log:
        # A signal while the child is created must not leave it without an owner.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        child = subprocess.Popen(
            [sys.executable, "-m", "kubeling", "up", "--data-dir", str(folder), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: _unblock_signals(mask),
        )
        # SIGTERM has the effect of Ctrl-C: the child has its own session, so nothing else would stop it.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            path = _wait_ready(child, log, folder / "kubeling.log")
            found = _find_running(folder)
            if problem := _find_problem(found, folder, data_dir):
                raise problem
            click.echo(path)
            end = f". End it: kubeling down{_data_dir_option(data_dir)}"
            click.echo(_next_step(found["server"], path) + end, err=True)
        except KeyboardInterrupt:
            # Otherwise the next command would find a cluster that is still starting, or already ending.
            child.terminate()
            child.wait()
            if data_dir is None:  # the child may have ended before it could delete its folder
                shutil.rmtree(folder, ignore_errors=True)
            raise
    child.returncode = 0  # it keeps running; nothing waits for it


def _unblock_signals(mask: set[int | signal.Signals]) -> None:
    """Restore the signal mask in a new process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # A Ctrl-C that arrived before the process had a session of its own is still pending. It belongs to
        # the parent; raised here, it would be a SubprocessError there. The kernel discards an ignored signal.
        signal.signal(number, signal.SIG_IGN)
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _wait_ready(child: "subprocess.Popen[bytes]", log: IO[bytes], log_file: Path) -> Path:
    """Wait until a cluster in the background is ready; return its kubeconfig.

    Raises:
        Error: The cluster has ended; the message is the cause in its log.
    """
    assert child.stdout is not None
    with child.stdout as output:
        if path := output.readline().decode().strip():
            return Path(path)
    child.wait()
    log.seek(0)  # the folder of a temporary cluster is already deleted
    said = log.read().decode(errors="replace").strip()
    # The cause is not always the last line: processes of the cluster also write to the log.
    causes = [each for each in said.splitlines() if each.startswith("kubeling: ")]
    cause = (causes or [said.rpartition("\n")[2]])[-1].removeprefix("kubeling: ")
    hint = f"see {log_file}" if cause else "check the free space of the disk"
    raise Error(
        cause or f"the cluster ended with code {child.returncode}",
        hint=hint if log_file.exists() or not cause else "",
    )


def _data_dir_option(data_dir: Path | None) -> str:
    return "" if data_dir is None else f" --data-dir {shlex.quote(str(data_dir))}"


def _default_folder() -> Path:
    """Return the folder of a detached cluster without --data-dir."""
    environ: Mapping[str, str] = os.environ  # noqa: TID251 read once
    state = environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "kubeling"


def _find_running(folder: Path) -> dict[str, Any]:
    """Return the facts of the cluster in a folder; only its process while it starts, nothing without one."""
    if (pid := _running_pid(folder)) is None:
        return {}
    with contextlib.suppress(OSError, ValueError):
        found: dict[str, Any] = json.loads((folder / "status.json").read_text())
        if found["pid"] == pid:  # not the facts of a cluster that was killed
            return found
    return {"pid": pid}


def _find_problem(found: Mapping[str, Any], folder: Path, data_dir: Path | None) -> Error | None:
    """Return why a cluster is not ready: it starts, does not respond, or reports a failure."""
    import http.client
    import ssl
    from urllib.parse import urlsplit

    end = f"end it: kubeling down{_data_dir_option(data_dir)}"
    if "server" not in found:
        return Error(f"the cluster in {folder} is still starting", hint=f"wait, or {end}")
    url = urlsplit(found["server"])
    try:
        context = ssl.create_default_context(cafile=found["ca_file"])
        connection = http.client.HTTPSConnection(
            url.hostname or "", url.port, timeout=_READY_SECONDS, context=context
        )
        with contextlib.closing(connection):
            connection.request("GET", "/readyz")
            if connection.getresponse().status == http.client.OK:
                return None
    except (OSError, http.client.HTTPException) as exc:
        hint = f"if it is stopped, continue it: kill -CONT {found['pid']}; or {end}"
        return Error(f"the cluster in {folder} does not respond: {exc}", hint=hint)
    hint = f"check the free space of the disk, and {folder / 'kubeling.log'}"
    return Error(f"the cluster in {folder} cannot write to its database", hint=hint)


def _running_pid(folder: Path) -> int | None:
    """Return the ID of the process that runs a cluster in a folder; None if there is none."""
    import fcntl

    try:
        lock = (folder / "lock").open("rb")
    except OSError:
        return None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            with contextlib.suppress(ValueError):
                return int(lock.read())
        return None


class _Formatter:
    """Formats a record of the log with its facts."""

    def __init__(self) -> None:
        import logging

        self._known = set(vars(logging.makeLogRecord({}))) | {"message", "taskName"}
        self._text = logging.Formatter("%(levelname)s %(name)s %(message)s")

    def format(self, record: Any) -> str:
        """Return one line, and the traceback of an exception."""
        facts = [f"{k}={v}" for k, v in vars(record).items() if k not in self._known]
        return " ".join([self._text.format(record), *facts])


def _write_log(*, verbose: bool) -> None:
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())  # type: ignore[arg-type]
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, handlers=[handler])


def main() -> None:
    """Run the command; an error is one line that says what to do."""
    try:
        sys.exit(cli(standalone_mode=False))
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("kubeling: interrupted", err=True)
        sys.exit(_INTERRUPTED)
    except Error as exc:
        hint = f". {exc.hint[0].upper()}{exc.hint[1:]}" if exc.hint else ""
        click.echo(f"kubeling: {exc.message}{hint}", err=True)
        sys.exit(1)
    except OSError as exc:
        where = f": {exc.filename}" if exc.filename else ""
        advice = (
            "Check the folder: its permissions, and the free space of its disk; or use another one with"
            " --data-dir"
        )
        click.echo(f"kubeling: {exc.strerror or exc}{where}. {advice}", err=True)
        sys.exit(1)
