"""`podpass up`."""

import time
import traceback
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import click
from click.core import ParameterSource

from podpass.cli import options
from podpass.cli.client import check_answers, read_status
from podpass.cli.output import align, patience, say
from podpass.errors import Error
from podpass.local.datadir import DataDir, claim, prepare
from podpass.local.lock import holder
from podpass.settings import LocalSettings

_PATIENCE_SECONDS = 30.0


@click.command
@options.data_dir
@click.option("--detach", "-d", is_flag=True, help="Return when it is ready, and leave it running.")
@click.option("--seed", metavar="FILE", help="Identities, vaults and roles to apply, as YAML.")
@options.setting(LocalSettings, "port_base", "N")
@options.setting(LocalSettings, "kubernetes", "KIND")
@options.setting(LocalSettings, "propagation_seconds", "SECONDS")
@options.setting(LocalSettings, "assertion_algorithms", "ALGORITHMS")
@click.option("--ready-fd", type=int, hidden=True)
@click.option("--seed-name", default="-", hidden=True)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    data_dir: DataDir,
    detach: bool,
    seed: str | None,
    ready_fd: int | None,
    seed_name: str,
    **chosen: Any,
) -> None:
    """Start the whole loop on this machine.

    A Kubernetes API with the webhook, an issuer, a token service, a directory and a key vault, behind a
    gateway that gives them Azure's names. Ctrl-C or `podpass down` stops it; what it holds stays in the data
    dir for the next start. Ctrl-C before it is ready leaves with 130.

    Where it runs already, a seed is applied to it, and options that are not in force are told.
    """
    settings = LocalSettings(data_dir=data_dir.root, **chosen)
    if ready_fd is not None:
        return _as_daemon(data_dir, settings, _read_seed(seed, seed_name), ready_fd)
    text = _read_seed(seed, seed)
    prepare(data_dir)
    claim(data_dir)
    if holder(data_dir.lock_file) is None:
        try:
            return (
                _detach(data_dir, settings, text)
                if detach
                else _foreground(data_dir, settings, text)
            )
        except Error as exc:
            # Another start may have been quicker by a moment; then this one joins it.
            if "already_running" not in (exc.code, exc.facts.get("cause")):
                raise
    return _join(data_dir, _given(ctx, settings), text)


def _read_seed(seed: str | None, name: str | None) -> tuple[str, str] | None:
    """Read and check a seed before anything is started for it; `name` is what it is called in messages.

    Errors:  UsageError, and what the parser says of its contents.
    """
    if seed is None or name is None:
        return None
    from podpass.cli.apply import read
    from podpass.errors import UsageError
    from podpass.seed.apply import parse_seed

    try:
        text = read(seed).decode()
    except UnicodeDecodeError as exc:
        raise UsageError(f"{name} is not UTF-8", hint="save the file as UTF-8") from exc
    parse_seed(text, name)
    return text, name


def _join(data_dir: DataDir, given: Mapping[str, object], seed: tuple[str, str] | None) -> None:
    """Meet the instance that runs already: wait for it, apply the seed to it, show it."""
    status = _wait_ready(data_dir)
    check_answers(data_dir, status["pids"]["podpass"])
    say(f"podpass runs already on {data_dir.root}")
    if others := _unheeded(given, status["settings"]):
        for line in others:
            say(f"  {line}")
        down, up = (options.as_command(data_dir, verb) for verb in ("down", "up"))
        say(f"  stop it with `{down}`, then `{up}` with these options; what it holds stays")
    if seed is not None:
        from podpass.cli.apply import send

        send(data_dir, seed[0].encode(), seed[1])
    _show(data_dir, status)


def _given(ctx: click.Context, settings: LocalSettings) -> dict[str, object]:
    """Give the settings that somebody chose, by flag or variable, as `LocalSettings.told` names them."""
    chosen = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    return {
        f.metadata["flag"]: getattr(settings, f.name)
        for f in fields(settings)
        if f.name != "data_dir" and ctx.get_parameter_source(f.name) in chosen
    }


def _unheeded(given: Mapping[str, object], runs: Mapping[str, object]) -> list[str]:
    """Say which of the options given are not those that an instance runs with."""
    return [
        f"{flag} {value} is not in force: it runs with {flag} {runs[flag]}"
        for flag, value in given.items()
        if flag in runs and runs[flag] != value
    ]


def _wait_ready(data_dir: DataDir) -> dict[str, Any]:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with patience(f"waiting for it to be ready, for up to {_PATIENCE_SECONDS:.0f} seconds"):
        while time.monotonic() < deadline:
            if status := read_status(data_dir):
                return status
            if holder(data_dir.lock_file) is None:
                raise Error(
                    "the instance that was starting has ended", hint=f"look at {data_dir.log_file}"
                )
            time.sleep(0.05)
    raise Error(
        f"the instance on {data_dir.root} is not ready after {_PATIENCE_SECONDS:.0f} s",
        hint=f"look at {data_dir.log_file}, or stop it with `podpass down`",
    )


def _detach(data_dir: DataDir, settings: LocalSettings, seed: tuple[str, str] | None) -> None:
    from podpass.cli.progress import drawing
    from podpass.local import daemon

    arguments = ["up", "--data-dir", str(data_dir.root), "--port-base", str(settings.port_base)]
    arguments += ["--kubernetes", settings.kubernetes]
    arguments += ["--propagation-delay", str(settings.propagation_seconds)]
    arguments += ["--assertion-algorithm", settings.assertion_algorithms]
    if seed is not None:
        # Handed over by its text: the name may mean another file, or stdin, where the child runs.
        arguments += ["--seed", "-", "--seed-name", seed[1]]
    with drawing() as progress:
        daemon.start(
            arguments,
            errors=data_dir.path("podpass.err"),
            environ=options.environ(),
            progress=progress,
            stdin=seed[0] if seed is not None else "",
        )
    _show(data_dir, _wait_ready(data_dir))


def _foreground(data_dir: DataDir, settings: LocalSettings, seed: tuple[str, str] | None) -> None:
    from podpass.cli.progress import drawing
    from podpass.local.run import run

    with drawing() as progress:

        def ready() -> None:
            progress("", "")
            _show(data_dir, _wait_ready(data_dir))

        run(
            data_dir,
            settings=settings,
            seed=seed,
            environ=options.environ(),
            progress=progress,
            ready=ready,
        )
    say("stopped")


def _as_daemon(
    data_dir: DataDir, settings: LocalSettings, seed: tuple[str, str] | None, ready_fd: int
) -> None:
    """Run as the child of `--detach`: success and failure are told through the pipe."""
    from podpass.local.daemon import Voice
    from podpass.local.run import run

    voice = Voice(ready_fd)
    try:
        run(
            data_dir,
            settings=settings,
            seed=seed,
            environ=options.environ(),
            progress=voice.progress,
            ready=voice.ready,
        )
    except Error as exc:
        voice.failed(exc.code, exc.message, exc.hint)
        raise
    except Exception as exc:
        errors = data_dir.path("podpass.err")
        voice.failed("bug", f"unexpected {type(exc).__name__}", f"please report it with {errors}")
        traceback.print_exception(exc)  # stderr is that file
        raise click.exceptions.Exit(1) from exc
    finally:
        voice.close()


def _show(data_dir: DataDir, status: dict[str, Any]) -> None:
    """Print the ready line: where everything is, and what to run next."""

    def spell(command: str) -> str:
        return options.as_command(data_dir, command)

    addresses = [
        ["  kubernetes", status["kubernetes"]["server"]],
        ["  gateway", status["gateway"]],
        ["  authority", status["authority"]],
        ["  vault", status["vault"]],
    ]
    click.echo("podpass is ready")
    click.echo(align(addresses), nl=False)
    click.echo(
        f'next: eval "$({spell("env")})"   then kubectl, az and the Azure SDKs work as they are'
    )
    click.echo(f"      {spell('run -- kubectl get nodes')}   for a single command")
    click.echo(f"      {spell('down')}   stops it")
