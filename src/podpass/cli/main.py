"""Run a command line: convert its result to an exit code, and a failure to a message and a hint."""

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from podpass.errors import Error

DONE, FAILED, USAGE_ERROR, INTERRUPTED = 0, 1, 2, 130
_DEBUG = "PODPASS_DEBUG"
_COMPLETE = "_PODPASS_COMPLETE"
_DEFAULT_HINTS = {
    FAILED: "run the command again with PODPASS_DEBUG=1 to see the traceback",
    USAGE_ERROR: "correct the command and run it again; --help lists the options",
}


def run(arguments: Sequence[str], *, is_link: bool = False) -> int:
    """Run a command line and return its exit code; raise no exception except SystemExit.

    With `is_link`, the user called a link that has the name of the first argument.
    """
    as_reference = list(arguments[:1]) == ["azwi"]
    outcome = _run(arguments, "" if is_link else "podpass", as_reference=as_reference)
    if isinstance(outcome, int):
        return outcome
    return _print_failure(outcome, as_reference=as_reference)


@dataclass(frozen=True, slots=True)
class _Failure:
    """A failed command: its exit code, a message and a hint."""

    code: int
    message: str
    hint: str


def _run(arguments: Sequence[str], name: str, *, as_reference: bool) -> "int | _Failure":
    from podpass.cli.commands import cli

    # A command without a log file prints warnings to stderr, with their facts.
    logging.lastResort = StderrHandler(logging.WARNING)
    stdout = sys.stdout
    try:
        outcome = cli.main(
            list(arguments), prog_name=name, complete_var=_COMPLETE, standalone_mode=False
        )
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as exc:
        # azure-workload-identity prints the help of a group to stdout and succeeds.
        output, code = (sys.stdout, DONE) if as_reference else (sys.stderr, USAGE_ERROR)
        print(exc.format_message(), file=output)
        return code
    except click.UsageError as exc:
        return _Failure(USAGE_ERROR, exc.format_message(), _usage_hint(exc))
    except click.ClickException as exc:
        return _Failure(FAILED, exc.format_message(), "run the command with --help")
    except (click.Abort, KeyboardInterrupt):
        return _Failure(INTERRUPTED, "interrupted", "run the command again")
    except BrokenPipeError:
        return _discard_stdout()
    except SystemExit as exc:
        # Click raises SystemExit when stdout is closed while it prints, and after a completion. In the
        # first case it has replaced sys.stdout.
        return DONE if sys.stdout is not stdout else int(exc.code or 0)
    except Error as exc:
        return _report_error(exc)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] != "kubeling":
            return _report_bug(exc)
        # Servers in a cluster do not need kubeling, so their images do not contain it.
        message = "the local loop needs the package kubeling, which is not installed"
        return _Failure(FAILED, message, "install it in a clone: pip install ./kubeling '.[demo]'")
    except Exception as exc:  # noqa: BLE001 the outermost handler: a bug is reported, not raised
        return _report_bug(exc)
    return outcome if isinstance(outcome, int) else DONE


class StderrHandler(logging.Handler):
    """Print log records to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        from podpass.log import TextFormatter

        print(TextFormatter().format(record), file=sys.stderr)  # noqa: T201 message to stderr


def _usage_hint(exc: click.UsageError) -> str:
    return f"see `{exc.ctx.command_path if exc.ctx else 'podpass'} --help`"


def _report_error(exc: Error) -> _Failure:
    if os.environ.get(_DEBUG):  # noqa: TID251 only the command line reads the environment
        traceback.print_exception(exc)
    hint = exc.hint or _DEFAULT_HINTS.get(exc.exit_code, _DEFAULT_HINTS[FAILED])
    return _Failure(exc.exit_code, exc.message, hint)


def _report_bug(exc: Exception) -> _Failure:
    if os.environ.get(_DEBUG):  # noqa: TID251 only the command line reads the environment
        traceback.print_exception(exc)
        return _Failure(
            FAILED, f"unexpected {type(exc).__name__}", "this is a bug in podpass; report it"
        )
    import tempfile

    descriptor, name = tempfile.mkstemp(prefix="podpass-", suffix=".traceback")
    with os.fdopen(descriptor, "w") as file:
        traceback.print_exception(exc, file=file)
    return _Failure(
        FAILED,
        f"unexpected {type(exc).__name__}",
        f"this is a bug in podpass; report it with the traceback in {Path(name)}",
    )


def _print_failure(failure: _Failure, *, as_reference: bool) -> int:
    """Print a failure and return its exit code; azure-workload-identity has one code and one word for all."""
    from podpass.cli.invocation import escape_controls, localize

    code, prefix = failure.code, "podpass"
    if as_reference:
        code, prefix = (code if code == INTERRUPTED else FAILED), "Error"
    # A message may contain the text of an API server, a webhook or a pod.
    text = escape_controls(localize(f"{prefix}: {failure.message}\n  {failure.hint}"))
    with contextlib.suppress(BrokenPipeError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201 message to stderr
    return code


def _discard_stdout() -> int:
    """Exit without an error when the reader closed stdout, as in `podpass ... | head -1`."""
    # The interpreter flushes stdout again at exit; that flush must not fail.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE
