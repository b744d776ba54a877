"""Sign-ins under way: codes that wait for their client, device codes that wait for their user.

Held in memory by the process that began them, because each works once: after a restart, or at another
replica, they are unknown and the user signs in again. Texts are found by their digest.
"""

import hashlib
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from podpass.clock import Clock
from podpass.exchange.aadsts import Refused
from podpass.exchange.clients import Platform

CODE_SECONDS = 600
DEVICE_SECONDS = 900
INTERVAL_SECONDS = 5
MAX_HELD = 10_000
MAX_WRONG = 30
WRONG_SECONDS = 60
# Without letters and digits that are taken for one another.
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_USER_CODE_CHARS = 9


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
    polled: float = float("-inf")
    approval: Approval | None = None
    declined: bool = False


_Held = TypeVar("_Held")


class _Table(Generic[_Held]):
    """Values by the digest of a secret text, in the order they came; too many drop the oldest."""

    def __init__(self) -> None:
        self._held: dict[bytes, _Held] = {}

    def put(self, text: str, value: _Held) -> None:
        self._held[_digest(text)] = value
        while len(self._held) > MAX_HELD:
            del self._held[next(iter(self._held))]

    def get(self, text: str) -> _Held | None:
        return self._held.get(_digest(text))

    def drop(self, text: str) -> None:
        self._held.pop(_digest(text), None)

    def pop_oldest(self, gone: Callable[[_Held], bool]) -> _Held | None:
        """Drop the oldest and give it, if it is one that may go."""
        key = next(iter(self._held), None)
        return self._held.pop(key) if key is not None and gone(self._held[key]) else None

    @property
    def is_full(self) -> bool:
        return len(self._held) >= MAX_HELD


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class Codes:
    """Authorization codes, each good for one redemption."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._codes: _Table[Code] = _Table()
        self._used: _Table[bool] = _Table()

    def issue(self, code: Code) -> str:
        """Give out a code."""
        text = secrets.token_urlsafe(32)
        self._codes.put(text, code)
        return text

    def redeem(self, text: str) -> Code:
        """Take a code back; whoever presents it, it is used from then on.

        Errors:  Refused 54005, 70000, 70008.
        """
        if self._used.get(text):
            raise Refused(54005)
        code = self._codes.get(text)
        if code is None:
            raise Refused(70000, reason="no such code was given out")
        self._codes.drop(text)
        self._used.put(text, True)
        if not 0 <= self._clock() - code.issued < CODE_SECONDS:
            raise Refused(70008)
        return code


class Devices:
    """Device codes, and the short codes that people type."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._devices: _Table[Device] = _Table()
        self._by_user_code: _Table[str] = _Table()
        self._wrong: deque[float] = deque(maxlen=MAX_WRONG)

    def begin(self, *, client_id: str, segment: str, scope: str) -> tuple[str, Device]:
        """Begin a sign-in; give the device code and what it stands for.

        Errors:  Refused 90055 when too many wait.
        """
        self._make_room()
        text = secrets.token_urlsafe(48)
        user_code = "".join(secrets.choice(_ALPHABET) for _ in range(_USER_CODE_CHARS))
        device = Device(
            client_id=client_id,
            segment=segment,
            scope=scope,
            user_code=user_code,
            begun=self._clock(),
        )
        self._devices.put(text, device)
        self._by_user_code.put(user_code, text)
        return text, device

    def _make_room(self) -> None:
        while expired := self._devices.pop_oldest(self._is_over):
            self._by_user_code.drop(expired.user_code)
        # Anybody may begin one: to drop the oldest then would let anybody end those that others wait for.
        if self._devices.is_full:
            raise Refused(90055).answered(status=429)

    def find(self, user_code: str) -> Device:
        """Find the device whose code somebody typed.

        Errors:  Refused 50053 after too many wrong ones, 70018, 70020.
        """
        now = self._clock()
        if len(self._wrong) == MAX_WRONG and 0 <= now - self._wrong[0] < WRONG_SECONDS:
            raise Refused(50053)
        text = self._by_user_code.get(plain(user_code))
        device = self._devices.get(text) if text is not None else None
        if device is None or device.approval is not None or device.declined:
            self._wrong.append(now)
            raise Refused(70018)
        self._check_age(device)
        return device

    def settle(self, user_code: str, approval: Approval | None) -> None:
        """Note that the user signed in, or declined (None)."""
        text = self._by_user_code.get(user_code)
        device = self._devices.get(text) if text is not None else None
        if text is None or device is None:
            raise Refused(70018)
        self._by_user_code.drop(user_code)
        self._devices.put(text, replace(device, approval=approval, declined=approval is None))

    def poll(self, text: str, client_id: str) -> Device:
        """Ask whether the user has signed in; the answer that he has is given once.

        Errors:  Refused 70018, 70020, 50196, 65004, 70016.
        """
        device = self._devices.get(text)
        if device is None or device.client_id != client_id:
            raise Refused(70018)
        self._check_age(device)
        if device.declined:
            self._devices.drop(text)
            raise Refused(65004).answered(error="authorization_declined")
        if device.approval is not None:
            self._devices.drop(text)
            return device
        now = self._clock()
        # A second's grace: clients count from when they got the answer.
        hasty = 0 <= now - device.polled < INTERVAL_SECONDS - 1
        self._devices.put(text, replace(device, polled=now))
        raise Refused(50196, seconds=INTERVAL_SECONDS) if hasty else Refused(70016)

    def _check_age(self, device: Device) -> None:
        if self._is_over(device):
            raise Refused(70020)

    def _is_over(self, device: Device) -> bool:
        return not 0 <= self._clock() - device.begun < DEVICE_SECONDS


def plain(user_code: str) -> str:
    """Read a code as people type it: small letters, blanks and hyphens do not matter."""
    return user_code.upper().replace("-", "").replace(" ", "").strip()
