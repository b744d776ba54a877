"""What the status of a container says, and where the log of its failure is."""

from typing import Any

import pytest

from podpass.diagnose.doctor.pods import describe_stop, find_log, has_run

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


def _end(code: int, reason: str, message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


NOT_FOUND = _end(128, "StartError", 'exec: "pythn": executable file not found in $PATH')
LOOP = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s restarting"}}


@pytest.mark.parametrize(
    ("state", "earlier", "said"),
    [
        (NOT_FOUND, {}, 'it ended with exit code 128, StartError: exec: "pythn": executable'),
        (
            LOOP,
            NOT_FOUND,
            'CrashLoopBackOff: it ended with exit code 128, StartError: exec: "pythn"',
        ),
        (
            _end(137, "OOMKilled", "text of the program"),
            {},
            "it ended with exit code 137, OOMKilled",
        ),
        (LOOP, _end(137, "OOMKilled"), "CrashLoopBackOff: it ended with exit code 137, OOMKilled"),
        (LOOP, _end(1, "Error", "text"), "CrashLoopBackOff: it ended with exit code 1"),
    ],
)
def test_reason_of_the_kubelet_is_named(state: Any, earlier: Any, said: str) -> None:
    status = {"name": "app", "state": state, "lastState": earlier, "restartCount": 1}
    assert describe_stop(status, 0.0).startswith(said)
    assert "text" not in describe_stop(status, 0.0)


def test_container_that_could_not_start_has_no_log() -> None:
    assert not has_run({"state": NOT_FOUND, "lastState": {}, "restartCount": 0})
    assert not has_run({"state": LOOP, "lastState": NOT_FOUND, "restartCount": 2})
    assert has_run({"state": LOOP, "lastState": ENDED, "restartCount": 2})
