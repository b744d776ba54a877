"""The edge of the command line: an outcome becomes an exit code and, on failure, one line to go on from."""

import contextlib
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from podpass.errors import Error, SettingsError, UsageError

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
_DEBUG = "PODPASS_DEBUG"
_DEFAULT_HINTS = {
    FAILED: "run it again with PODPASS_DEBUG=1 to see where it failed",
    WRONG_USAGE: "correct that and run it again; --help tells what is possible",
}


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line and give its exit code; nothing escapes but SystemExit."""
    from podpass.cli.commands import cli

    # Of commands that keep no log: what a service would log is told with its facts.
    logging.lastResort = _Talk(logging.WARNING)
    stdout = sys.stdout
    try:
        outcome = cli.main(list(arguments), prog_name="podpass", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as exc:
        print(exc.format_message(), file=sys.stderr)  # noqa: T201 talk
        return WRONG_USAGE
    except click.UsageError as exc:
        return _tell(WRONG_USAGE, exc.format_message(), _usage_hint(exc))
    except click.ClickException as exc:
        return _tell(FAILED, exc.format_message(), "run it again with --help")
    except (click.Abort, KeyboardInterrupt):
        return _tell(INTERRUPTED, "interrupted", "run it again when you like; nothing is half done")
    except BrokenPipeError:
        return _close_pipe()
    except SystemExit as exc:
        # Click leaves so when the reader went away while it printed, and after a completion; in the
        # first case it has put something in stdout's place.
        return DONE if sys.stdout is not stdout else int(exc.code or 0)
    except Error as exc:
        return _tell_error(exc)
    except Exception as exc:  # noqa: BLE001 the last edge: a bug is told, not thrown at the user
        return _tell_bug(exc)
    return outcome if isinstance(outcome, int) else DONE


class _Talk(logging.Handler):
    """Tell at the terminal what was logged."""

    def emit(self, record: logging.LogRecord) -> None:
        from podpass.log import TextFormatter

        print(TextFormatter().format(record), file=sys.stderr)  # noqa: T201 talk


def _usage_hint(exc: click.UsageError) -> str:
    return f"see `{exc.ctx.command_path if exc.ctx else 'podpass'} --help`"


def _tell_error(exc: Error) -> int:
    if os.environ.get(_DEBUG):  # noqa: TID251 the command line is where the environment enters
        traceback.print_exception(exc)
    code = WRONG_USAGE if isinstance(exc, UsageError | SettingsError) else FAILED
    hint = exc.hint or _DEFAULT_HINTS[code]
    return _tell(code, exc.message, hint)


def _tell_bug(exc: Exception) -> int:
    if os.environ.get(_DEBUG):  # noqa: TID251 the command line is where the environment enters
        traceback.print_exception(exc)
        return _tell(FAILED, f"unexpected {type(exc).__name__}", "this is a bug; please report it")
    descriptor, name = tempfile.mkstemp(prefix="podpass-", suffix=".traceback")
    with os.fdopen(descriptor, "w") as file:
        traceback.print_exception(exc, file=file)
    return _tell(FAILED, f"unexpected {type(exc).__name__}", f"please report it with {Path(name)}")


def _tell(code: int, message: str, hint: str) -> int:
    with contextlib.suppress(BrokenPipeError):
        print(f"podpass: {message}\n  {hint}", file=sys.stderr, flush=True)  # noqa: T201 talk
    return code


def _close_pipe() -> int:
    """End quietly when the reader went away, as `podpass ... | head -1` does."""
    # The interpreter flushes stdout once more at its end; that must not fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE
