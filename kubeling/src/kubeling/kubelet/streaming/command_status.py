"""The result of a command that a client runs in a container, as a Status. Pure."""

from typing import Any

from kubeling.kubelet.process import StartError

Status = dict[str, Any]


def exit_status(code: int) -> Status:
    """Return the Status of a command that has ended; clients read the exit code from its cause."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def start_error_status(error: StartError) -> Status:
    """Return the Status of a command that could not be started."""
    return internal_error(f"error executing command in container: {error.message}")


def internal_error(message: str) -> Status:
    """Return the Status of an error of the kubelet."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {message}",
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }
