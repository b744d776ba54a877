"""What the status of a container says, and where the log of its failure is."""

from typing import Any

import pytest

from podpass.diagnose.doctor.pods import describe_stop, find_log

ENDED = {"terminated": {"exitCode": 1}}


def _status(state: Any, restarts: int) -> dict[str, Any]:
    return {"name": "app", "state": state, "restartCount": restarts, "lastState": ENDED}


@pytest.mark.parametrize(
    ("restarts", "said"),
    [
        (0, "it ended with exit code 1"),
        (1, "it ended with exit code 1, after 1 restart"),
        (2, "it ended with exit code 1, after 2 restarts"),
    ],
)
def test_stop_is_described_with_its_restarts(restarts: int, said: str) -> None:
    assert describe_stop(_status(ENDED, restarts), 0.0) == said


@pytest.mark.parametrize(
    ("state", "restarts", "option"),
    [
        (ENDED, 0, ""),
        (ENDED, 2, ""),
        ({"waiting": {"reason": "ImagePullBackOff"}}, 0, ""),
        ({"waiting": {"reason": "CrashLoopBackOff"}}, 2, " --previous"),
        ({"running": {}}, 1, " --previous"),
    ],
)
def test_log_of_the_run_that_failed_is_named(state: Any, restarts: int, option: str) -> None:
    assert find_log(_status(state, restarts)) == option
