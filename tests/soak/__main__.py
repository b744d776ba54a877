"""Run the soak, all of it or some parts: `python -m soak [PART...]`, from the tests' folder on the path.

Exit code 0 when nothing went wrong; 1 with what went wrong first; 130 when interrupted.
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

from tests.soak.parts import PARTS, Plan
from tests.soak.progress import say
from tests.soak.report import table, write


def main() -> int:
    """Run what the command line names."""
    asked, plan = _asked()
    interrupted: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupted.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    found: dict[str, Any] = {"seed": plan.seed}
    say(f"seed {plan.seed}: repeat with --seed {plan.seed}")
    try:
        for name in asked.parts or list(PARTS):
            say(f"begin {name}: {(PARTS[name].__doc__ or '').splitlines()[0]}")
            began = time.monotonic()
            found[name] = asyncio.run(PARTS[name](plan))
            found[name]["took_seconds"] = round(time.monotonic() - began, 1)
    except pytest.skip.Exception as exc:
        say(f"cannot go on: {exc.msg}")
        return 1
    except (KeyboardInterrupt, Exception) as exc:  # noqa: BLE001 whatever it is, it went wrong first
        if interrupted:
            # A terminal interrupts the database too, which others then miss.
            say("interrupted; what was started is stopped")
            return 130
        say(f"WRONG: {_first(exc)}")
        found["wrong"] = _first(exc)
        return 1
    finally:
        write(asked.report, found)
        print(table(found))
        say(f"the report is in {asked.report}")
    return 0


def _first(exc: BaseException) -> str:
    """Say what went wrong, out of the group that a task group makes of it."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return f"{type(exc).__name__}: {exc}"


def _asked() -> tuple[argparse.Namespace, Plan]:
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--rounds", type=int, default=Plan.rounds)
    parser.add_argument("--minutes", type=float, default=Plan.minutes)
    parser.add_argument("--credentials", type=int, default=Plan.credentials)
    parser.add_argument("--seconds", type=float, default=Plan.seconds)
    parser.add_argument("--workers", type=int, default=Plan.workers)
    parser.add_argument("--report", type=Path, default=Path(".cache/soak/report.json"))
    asked = parser.parse_args()
    if strange := set(asked.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(strange))}")
    plan = Plan(
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
