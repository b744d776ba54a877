"""`podpass up`."""

import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from podpass.cli import options, pod_limits
from podpass.cli.client import NotResponding, check_has_cluster, check_health, read_status
from podpass.cli.console import create_link
from podpass.cli.output import align, print_message, print_output, slow_notice
from podpass.errors import Error
from podpass.lab.data.datadir import DataDir, prepare, write_version
from podpass.lab.data.lock import lock_holder
from podpass.lab.data.process import is_stopped
from podpass.settings import LocalSettings
from podpass.settings.local import LOOPBACK

if TYPE_CHECKING:
    from podpass.lab.instance.harness import Harness

_READY_TIMEOUT_SECONDS = 30.0
_WAITING = f"waiting for the instance to be ready, for up to {_READY_TIMEOUT_SECONDS:.0f} seconds"
_ENDING_SECONDS = 3.0
OPTIONS_IGNORED = 3


@click.command
@options.data_dir
@click.option(
    "--detach",
    "-d",
    is_flag=True,
    help="Return when the instance is ready; it keeps running in the background.",
)
@click.option(
    "--seed", metavar="FILE", help="Seed file to apply: identities, vaults and roles, as YAML."
)
@options.setting(LocalSettings, "port_base", "N")
@options.setting(LocalSettings, "listen", "ADDRESS")
@options.setting(LocalSettings, "kubernetes", "KIND")
@options.setting(LocalSettings, "no_webhook")
@options.setting(LocalSettings, "public_issuer")
@options.setting(LocalSettings, "token_proxy", "URL")
@options.setting(LocalSettings, "custom_suffix", "SUFFIX")
@options.setting(LocalSettings, "custom_audience", "AUDIENCE")
@options.setting(LocalSettings, "sni_name", "NAME")
@options.setting(LocalSettings, "ca_configmap", "NAME")
@options.azure_settings(LocalSettings)
@options.output("text", "json")
@click.option("--ready-fd", type=int, hidden=True)
@click.option("--seed-name", default="-", hidden=True)
@click.option("--for-tests", type=click.Path(path_type=Path, allow_dash=True), hidden=True)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    data_dir: DataDir,
    detach: bool,
    seed: str | None,
    output: str,
    ready_fd: int | None,
    seed_name: str,
    for_tests: Path | None,
    **chosen: Any,
) -> None:
    """Start an instance on this machine.

    An instance is a Kubernetes API with the webhook, an issuer, a token service, a directory and key vaults.
    A gateway serves them under Azure's host names. Ctrl-C or `podpass down` stops the instance; its data
    stays in the data directory. Ctrl-C before the instance is ready exits with status 130.

    If the instance is already running, the command applies the seed. It exits with status 3 if the running
    instance does not use one of the options.
    """
    settings = LocalSettings(data_dir=data_dir.root, **chosen)
    if ready_fd is not None:
        _run_daemon(data_dir, settings, _check_seed(seed, seed_name), ready_fd, for_tests)
        return
    text = _check_seed(seed, seed)
    prepare(data_dir)
    write_version(data_dir)
    running = _find_running(data_dir)
    if running is None:
        _warn_of_unserved_accounts(text, settings)
        try:
            if detach:
                _detach(data_dir, settings, text, output)
            else:
                _foreground(data_dir, settings, text, output, _create_harness(for_tests))
        except Error as exc:
            # Another process may have started the instance at the same time; then use that instance.
            if "already_running" not in (exc.code, exc.facts.get("cause")):
                raise
            running = _find_running(data_dir)
            if running is None:
                raise
        else:
            return
    ignored = _join_running(data_dir, running, _chosen_settings(ctx, settings), text, output)
    ctx.exit(OPTIONS_IGNORED if ignored else 0)


def _find_running(data_dir: DataDir) -> dict[str, Any] | None:
    """Return the status of the running instance, as soon as it is ready; None if none is running.

    An instance that is ending, as after `kill -9`, does not respond any more, and still holds the lock for a
    moment; its end is waited for. Raises NotResponding if it does not end; Error if it does not become ready.
    """
    started = time.monotonic()
    with slow_notice(_WAITING):
        while lock_holder(data_dir.lock_file) is not None:
            waited = time.monotonic() - started
            if waited > _READY_TIMEOUT_SECONDS:
                raise _not_ready(data_dir)
            if status := read_status(data_dir):
                try:
                    check_health(data_dir, status["pids"]["podpass"])
                except NotResponding:
                    if is_stopped(status["pids"]["podpass"]) or waited > _ENDING_SECONDS:
                        raise
                else:
                    return status
            time.sleep(0.05)
    return None


def _check_seed(seed: str | None, name: str | None) -> tuple[str, str] | None:
    """Read and parse a seed before the instance starts; `name` is its name in messages."""
    if seed is None or name is None:
        return None
    from podpass.cli.apply import read_valid_seed

    return read_valid_seed(seed, name), name


def _warn_of_unserved_accounts(seed: tuple[str, str] | None, settings: LocalSettings) -> None:
    from podpass.cli.apply import list_storage_warnings

    if seed is not None:
        for line in list_storage_warnings(seed[0], settings.azurite, options.environ()):
            print_message(line)


def _join_running(
    data_dir: DataDir,
    status: dict[str, Any],
    given: Mapping[str, object],
    seed: tuple[str, str] | None,
    output: str,
) -> list[str]:
    """Use the running instance: apply the seed, print its addresses.

    Returns a line for each option that the instance does not use. Raises NoCluster.
    """
    check_has_cluster(data_dir, status)
    print_message(f"an instance is already running in {data_dir.root}")
    if ignored := _ignored_options(given, status["settings"]):
        for line in ignored:
            print_message(f"  {line}")
        down, up = (options.format_command(data_dir, verb) for verb in ("down", "up"))
        print_message(
            f"  to use these options, run `{down}`, then `{up}` with them; the data is kept"
        )
    if seed is not None:
        from podpass.cli.apply import (
            apply_to_instance,
            list_instance_storage_warnings,
            print_changes,
        )

        text = seed[0].encode()
        changed = apply_to_instance(data_dir, text, seed[1])
        if output != "json":
            print_changes(changed)
        for line in list_instance_storage_warnings(data_dir, text):
            print_message(line)
    link = create_link(data_dir)
    _print_ready(data_dir, status, output, link, started=False, ignored=ignored)
    return ignored


def _chosen_settings(ctx: click.Context, settings: LocalSettings) -> dict[str, object]:
    """Return the settings given by flag or variable, named as in `LocalSettings.by_flag`."""
    chosen = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    return {
        f.metadata["flag"]: getattr(settings, f.name)
        for f in fields(settings)
        if f.name != "data_dir" and ctx.get_parameter_source(f.name) in chosen
    }


def _ignored_options(given: Mapping[str, object], active: Mapping[str, object]) -> list[str]:
    """Return a line for each given option whose value differs from that of the running instance."""
    return [
        _ignored_option(flag, value, active[flag])
        for flag, value in given.items()
        if flag in active and active[flag] != value
    ]


def _ignored_option(flag: str, given: object, active: object) -> str:
    if isinstance(given, bool):
        runs = "with it" if active else "without it"
        return f"{flag} is ignored: the instance runs {runs}"
    runs = "without it" if active == "" else f"with {flag} {active}"
    return f"{flag} {given} is ignored: the instance runs {runs}"


def _wait_ready(data_dir: DataDir) -> dict[str, Any]:
    deadline = time.monotonic() + _READY_TIMEOUT_SECONDS
    with slow_notice(_WAITING):
        while time.monotonic() < deadline:
            if status := read_status(data_dir):
                return status
            if lock_holder(data_dir.lock_file) is None:
                raise Error("the instance exited while starting", hint=f"check {data_dir.log_file}")
            time.sleep(0.05)
    raise _not_ready(data_dir)


def _not_ready(data_dir: DataDir) -> Error:
    return Error(
        f"the instance in {data_dir.root} is not ready after {_READY_TIMEOUT_SECONDS:.0f} seconds",
        hint=f"check {data_dir.log_file}, or stop it with `podpass down`",
    )


def _detach(
    data_dir: DataDir, settings: LocalSettings, seed: tuple[str, str] | None, output: str
) -> None:
    from podpass.cli.progress import show_progress
    from podpass.lab.host import daemon

    arguments = ["up", "--data-dir", str(data_dir.root), *settings.arguments()]
    if seed is not None:
        # Pass the text on stdin: the child runs in another directory and has another stdin.
        arguments += ["--seed", "-", "--seed-name", seed[1]]
    with show_progress() as progress:
        daemon.start(
            arguments,
            errors=data_dir.path("podpass.err"),
            environ=options.environ(),
            progress=progress,
            stdin=seed[0] if seed is not None else "",
        )
    status = _wait_ready(data_dir)
    _print_ready(data_dir, status, output, create_link(data_dir))


def _foreground(
    data_dir: DataDir,
    settings: LocalSettings,
    seed: tuple[str, str] | None,
    output: str,
    harness: "Harness | None",
) -> None:
    from podpass.cli.progress import show_progress
    from podpass.lab.instance.run_local import run

    with show_progress() as progress:

        def ready(link: str) -> None:
            progress("", "")
            _print_ready(data_dir, _wait_ready(data_dir), output, link)

        run(
            data_dir,
            settings=settings,
            seed=seed,
            environ=options.environ(),
            progress=progress,
            ready=ready,
            harness=harness,
        )
    print_message("stopped")


def _create_harness(users: Path | None) -> "Harness | None":
    """Return the harness of an instance for tests.

    `users` is the file that the processes which use the instance have locked, or `-`: it then runs until it
    is stopped.
    """
    if users is None:
        return None
    from podpass import files
    from podpass.lab.instance.harness import Harness

    files.skip_sync()
    return Harness(None if users == Path("-") else users)


def _run_daemon(
    data_dir: DataDir,
    settings: LocalSettings,
    seed: tuple[str, str] | None,
    ready_fd: int,
    for_tests: Path | None,
) -> None:
    """Run as the child of `--detach`; report success or failure through the pipe."""
    from podpass.lab.host.daemon import StartupPipe
    from podpass.lab.instance.run_local import run

    pipe = StartupPipe(ready_fd)
    try:
        run(
            data_dir,
            settings=settings,
            seed=seed,
            environ=options.environ(),
            progress=pipe.progress,
            ready=lambda _link: pipe.report_ready(),
            harness=_create_harness(for_tests),
        )
    except Error as exc:
        pipe.report_failure(exc.code, exc.message, exc.hint)
        raise
    except Exception as exc:
        errors = data_dir.path("podpass.err")
        pipe.report_failure(
            "bug",
            f"unexpected {type(exc).__name__}",
            f"this is a bug in podpass; report it with {errors}",
        )
        traceback.print_exception(exc)  # stderr of the child is `errors`
        raise click.exceptions.Exit(1) from exc
    finally:
        pipe.close()


def _print_ready(
    data_dir: DataDir,
    status: dict[str, Any],
    output: str,
    link: str,
    *,
    started: bool = True,
    ignored: Sequence[str] = (),
) -> None:
    """Print the ready message: addresses, and commands to run next; or the status as JSON."""
    if output == "json":
        facts = {"started": started, "ignored": list(ignored), "console_link": link}
        print_output({**status, **facts}, output)
        sys.stdout.flush()  # `up` in the foreground keeps running
        return

    def command_line(command: str) -> str:
        return options.format_command(data_dir, command)

    addresses = [
        ["  kubernetes", status["kubernetes"]["server"]],
        ["  gateway", status["gateway"]],
        ["  authority", status["authority"]],
        ["  vault", status["vault"]],
        ["  console", f"{link} (opens once)"],
    ]
    if (listen := status["settings"].get("--listen", LOOPBACK)) != LOOPBACK:
        print_message(f"gateway, Kubernetes API, token service and control API listen on {listen}:")
        print_message("  outside a container, other machines can use this one as a proxy")
    if status["settings"].get("--no-webhook"):
        print_message("the built-in webhook is left out by --no-webhook:")
        print_message("  pods get no identity until another webhook is installed")
    for line in pod_limits.mount_warning(status, options.environ().get("PATH", os.defpath)):
        print_message(line)
    click.echo("podpass is ready")
    click.echo(align(addresses), nl=False)
    click.echo(
        f'next: eval "$({command_line("env")})"   then kubectl, az and the Azure SDKs use this instance'
    )
    click.echo(f"      {command_line('run -- kubectl get nodes')}   for a single command")
    click.echo(f"      {command_line('down')}   to stop the instance")
