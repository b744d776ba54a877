"""Sign-ins under way: codes that wait for their client, device codes that wait for their user. Pure.

What each of them stands for, for how long, and what a program that asks is told.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.sign_in.clients import Platform

CODE_SECONDS = 600
DEVICE_SECONDS = 900
INTERVAL_SECONDS = 5
MAX_HELD = 10_000
MAX_WRONG = 30
WRONG_SECONDS = 60
# The clock of the replica that takes a code may stand behind the one that gave it out.
SKEW_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A user who has given the password, and when.

    Shapes:  `password` is the fingerprint of the one kept then.
    """

    tenant_id: str
    user_id: str
    password: str
    authenticated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """What an authorization code stands for.

    Shapes:  `challenge` is S256, empty for none.
    """

    approval: Approval
    client_id: str
    redirect: str
    platform: Platform
    scope: str
    challenge: str
    nonce: str
    issued: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device's wish to sign somebody in; `segment` is the tenant in its path."""

    client_id: str
    segment: str
    scope: str
    user_code: str
    begun: float
    approval: Approval | None = None
    declined: bool = False


def check_code(code: Code, now: float) -> None:
    """Check that a code is not too old.

    Errors:  Refused 70008.
    """
    if not _is_within(code.issued, now, CODE_SECONDS):
        raise Refused(70008)


def check_device(device: Device, now: float) -> None:
    """Check that a device code is not too old.

    Errors:  Refused 70020.
    """
    if not _is_within(device.begun, now, DEVICE_SECONDS):
        raise Refused(70020)


def unfinished(now: float, polled: float) -> Refused:
    """Say what a program is told that asks before the user has signed in; `polled` is when it did last."""
    # A second's grace: clients count from when they got the answer.
    hasty = 0 <= now - polled < INTERVAL_SECONDS - 1
    return Refused(50196, seconds=INTERVAL_SECONDS) if hasty else Refused(70016)


def _is_within(begun: float, now: float, seconds: float) -> bool:
    return -SKEW_SECONDS <= now - begun < seconds


def write(value: Code | Device) -> dict[str, Any]:
    """Write a code's meaning as JSON can hold it."""
    return asdict(value)


def read_code(said: Mapping[str, Any]) -> Code:
    """Read a code's meaning back."""
    return Code(
        **{
            **said,
            "approval": Approval(**said["approval"]),
            "platform": Platform(said["platform"]),
        }
    )


def read_device(said: Mapping[str, Any]) -> Device:
    """Read a device's wish back."""
    approval = None if said["approval"] is None else Approval(**said["approval"])
    return Device(**{**said, "approval": approval})


def plain(user_code: str) -> str:
    """Read a code as people type it: small letters, blanks and hyphens do not matter."""
    return user_code.upper().replace("-", "").replace(" ", "").strip()
