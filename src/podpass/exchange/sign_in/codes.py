"""Authorization codes and device codes: data, lifetime, serialization, and the errors of polling. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.sign_in.clients import Platform

CODE_SECONDS = 600
DEVICE_SECONDS = 900
INTERVAL_SECONDS = 5
MAX_STORED = 10_000
MAX_WRONG_CODES = 30
WRONG_CODE_SECONDS = 60
# The clock of the replica that redeems a code may be slower than that of the replica that issued it.
SKEW_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """The approval of a user who entered the correct password.

    `password` is the fingerprint of the stored password at that time.
    """

    tenant_id: str
    user_id: str
    password: str
    authenticated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationCode:
    """The data of an authorization code.

    `challenge` is an S256 code challenge, or empty.
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
class DeviceCode:
    """The data of a device code.

    `segment` is the tenant in the path of the request, `version` that of the endpoint.
    """

    client_id: str
    segment: str
    scope: str
    user_code: str
    begun: float
    version: int = 2
    approval: Approval | None = None
    declined: bool = False


def check_code(code: AuthorizationCode, now: float) -> None:
    """Check that an authorization code has not expired. Raises AadstsError 70008."""
    if not _is_within(code.issued, now, CODE_SECONDS):
        raise AadstsError(numbers.CODE_EXPIRED)


def check_device_code(device: DeviceCode, now: float) -> None:
    """Check that a device code has not expired. Raises AadstsError 70020."""
    if not _is_within(device.begun, now, DEVICE_SECONDS):
        raise AadstsError(numbers.DEVICE_CODE_EXPIRED)


def pending_error(now: float, polled: float) -> AadstsError:
    """Return the error for a poll before the user has signed in; `polled` is the previous poll's time."""
    # One second of tolerance, because clients count from the arrival of the response.
    is_too_early = 0 <= now - polled < INTERVAL_SECONDS - 1
    return (
        AadstsError(numbers.SLOW_DOWN, seconds=INTERVAL_SECONDS)
        if is_too_early
        else AadstsError(numbers.AUTHORIZATION_PENDING)
    )


def _is_within(begun: float, now: float, seconds: float) -> bool:
    return -SKEW_SECONDS <= now - begun < seconds


def serialize(value: AuthorizationCode | DeviceCode) -> dict[str, Any]:
    """Convert the data of a code to JSON values."""
    return asdict(value)


def deserialize_code(values: Mapping[str, Any]) -> AuthorizationCode:
    """Convert JSON values to the data of an authorization code."""
    return AuthorizationCode(
        **{
            **values,
            "approval": Approval(**values["approval"]),
            "platform": Platform(values["platform"]),
        }
    )


def deserialize_device_code(values: Mapping[str, Any]) -> DeviceCode:
    """Convert JSON values to the data of a device code."""
    approval = None if values["approval"] is None else Approval(**values["approval"])
    return DeviceCode(**{**values, "approval": approval})


def normalize_user_code(user_code: str) -> str:
    """Normalize a code that a user entered: letter case, blanks and hyphens are ignored."""
    return user_code.upper().replace("-", "").replace(" ", "").strip()
