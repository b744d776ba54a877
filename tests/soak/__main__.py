"""Run the soak tests, all parts or the named ones: `python -m tests.soak [PART...]`.

Exit code 0 if no invariant was violated; 1 with the first violation; 130 if interrupted.
"""

import argparse
import asyncio
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests import process_reaper
from tests.soak.parts import PARTS, SoakPlan
from tests.soak.report import format_report, log_progress, write_report


def main() -> int:
    """Run the parts that the command line names."""
    process_reaper.start_reaper()
    asked, plan = _parse_arguments()
    interrupted: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupted.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    found: dict[str, Any] = {"seed": plan.seed}
    log_progress(f"seed {plan.seed}: repeat with --seed {plan.seed}")
    try:
        for name in asked.parts or list(PARTS):
            log_progress(f"begin {name}: {(PARTS[name].__doc__ or '').splitlines()[0]}")
            began = time.monotonic()
            found[name] = asyncio.run(PARTS[name](plan))
            found[name]["took_seconds"] = round(time.monotonic() - began, 1)
    except pytest.skip.Exception as exc:
        log_progress(f"cannot run: {exc.msg}")
        return 1
    except (KeyboardInterrupt, Exception) as exc:  # noqa: BLE001 any exception is the first violation
        if interrupted:
            # The terminal also interrupts the database, so a client may report its loss.
            log_progress("interrupted; all processes are stopped")
            return 130
        log_progress(f"VIOLATION: {_first_error(exc)}")
        found["wrong"] = _first_error(exc)
        return 1
    finally:
        write_report(asked.report, found)
        print(format_report(found))
        log_progress(f"the report is in {asked.report}")
    return 0


def _first_error(exc: BaseException) -> str:
    """Return the first error of an exception group."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return f"{type(exc).__name__}: {exc}"


def _parse_arguments() -> tuple[argparse.Namespace, SoakPlan]:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--rounds", type=int, default=SoakPlan.rounds)
    parser.add_argument("--minutes", type=float, default=SoakPlan.minutes)
    parser.add_argument("--credentials", type=int, default=SoakPlan.credentials)
    parser.add_argument("--seconds", type=float, default=SoakPlan.seconds)
    parser.add_argument("--workers", type=int, default=SoakPlan.workers)
    parser.add_argument("--report", type=Path, default=Path(".cache/soak/report.json"))
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"unknown part: {', '.join(sorted(unknown))}")
    plan = SoakPlan(
        seed=asked.seed,
        rounds=asked.rounds,
        minutes=asked.minutes,
        credentials=asked.credentials,
        seconds=asked.seconds,
        workers=asked.workers,
    )
    return asked, plan


if __name__ == "__main__":
    sys.exit(main())
