"""The Secret with authority and certificate: read, written if nobody else was quicker, and asked the time."""

import asyncio
import base64
import binascii
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from podpass import names
from podpass.admission.certificates import planner, secret_codec
from podpass.admission.certificates.ca_injector import Pace
from podpass.admission.certificates.model import (
    Drop,
    Held,
    Join,
    Keep,
    Make,
    Plan,
    Sign,
    Step,
    Turn,
)
from podpass.admission.certificates.status import BREAKING, CLOCK, WRITING, Standing
from podpass.admission.certificates.x509 import RsaMaker
from podpass.clock import Clock
from podpass.kubernetes.client import KubeClient, KubeError, Object

_ASKED = "podpass/asked"  # never stored: what a dry run changes, so that the answer bears its time


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The Secret as it was read.

    Shapes:  `object` is None where there is no such Secret.
    """

    object: Object | None = field(repr=False)
    held: Held


class CertificateSecret:
    """One Secret in the webhook's namespace."""

    def __init__(self, client: KubeClient, namespace: str, name: str, host: str) -> None:
        self._client = client
        self.name, self.host = name, host
        self.collection = f"/api/v1/namespaces/{namespace}/secrets"
        self._path = f"{self.collection}/{name}"
        self._last: Stored | None = None

    async def read(self) -> Stored:
        """Read it.

        Errors:  KubeError, but not for a Secret that is not there.
        """
        try:
            found = await self._client.get(self._path)
        except KubeError as exc:
            if exc.status != 404:
                raise
            return Stored(object=None, held=Held(faults=("the Secret is missing",)))
        before = self._last
        if before is not None and before.object is not None and _is_same(before.object, found):
            return before
        self._last = Stored(object=found, held=secret_codec.read(_data(found), self.host))
        return self._last

    async def write(self, stored: Stored, held: Held) -> None:
        """Put new contents there, if it still is what was read.

        Errors:  KubeError, 409 where another replica was quicker.
        """
        data = {**(_data(stored.object) if stored.object else {}), **secret_codec.written(held)}
        if not data[names.COMING_CA_KEY]:
            del data[names.COMING_CA_KEY]
        encoded = {name: base64.b64encode(value).decode() for name, value in data.items()}
        await self._send(stored, {"data": encoded})

    async def server_time(self, stored: Stored) -> float | None:
        """Ask the API server for the time, by a change that it does not carry out.

        Units:   seconds since the epoch, whole; None if the answer does not tell.
        Errors:  KubeError: also tells early that writing is not permitted.
        """
        about = dict((stored.object or {}).get("metadata", {}))
        about["annotations"] = {**(about.get("annotations") or {}), _ASKED: ""}
        answer = await self._send(stored, {"metadata": about}, dry=True)
        return max(_times(answer), default=None)

    async def _send(self, stored: Stored, part: Object, *, dry: bool = False) -> Object:
        params = {"dryRun": "All"} if dry else None
        if stored.object is not None:
            # With the version that was read: the API server refuses it if there is another by now.
            return await self._client.replace(self._path, {**stored.object, **part}, params)
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            **part,
            "metadata": {**part.get("metadata", {}), "name": self.name},
        }
        return await self._client.create(self.collection, body, params)


def _is_same(one: Object, other: Object) -> bool:
    return all(
        one["metadata"].get(part) == other["metadata"].get(part)
        for part in ("uid", "resourceVersion")
    )


def _data(secret: Object) -> dict[str, bytes]:
    found = {}
    for name, value in (secret.get("data") or {}).items():
        try:
            found[name] = base64.b64decode(value or "", validate=True)
        except (binascii.Error, TypeError):
            found[name] = b""
    return found


def _times(answer: Object) -> Iterator[float]:
    """Give every moment that the API server wrote into an object; the latest is now."""
    about: Any = answer.get("metadata") or {}
    stamps = [about.get("creationTimestamp")]
    stamps += [each.get("time") for each in about.get("managedFields") or ()]
    for stamp in stamps:
        if stamp:
            yield datetime.fromisoformat(stamp).timestamp()


_log = logging.getLogger(__name__)

_FAR_SECONDS = 1800  # half of what a new certificate is backdated by
_MANY = 4  # more old authorities than any rotation leaves: the Secret is made anew each hour
_EVENTS = {Join: "ca_made", Turn: "ca_turned", Drop: "ca_dropped", Keep: "ca_kept"}


class Stepping:
    """Carries out steps; those that mend a fault not faster than another program could break it again."""

    def __init__(
        self,
        secret: CertificateSecret,
        standing: Standing,
        plan: Plan,
        clock: Clock,
        ticks: Clock,
    ) -> None:
        self._secret, self._standing, self._plan = secret, standing, plan
        self._clock = clock
        self._pace = Pace(ticks, 5, 600)

    @property
    def wait_seconds(self) -> float:
        return self._pace.wait_seconds

    async def carry_out(self, stored: Stored, held: Held, step: Step | None) -> bool:
        """Take a step; tell whether something has changed, by us or by somebody quicker.

        Errors:  KubeError when the API server cannot be asked.
        """
        self._say_whether_broken(stored.held, step)
        if step is None:
            self._standing.say(WRITING)
            self._standing.say(CLOCK)
            return False
        mends = planner.is_repair(step)
        if mends and not self._pace.allows:
            return False
        try:
            done = await self._take(stored, held, step)
        except KubeError as exc:
            if exc.status in (404, 409):
                return True  # another replica was quicker
            if exc.status not in (403, 422):
                raise
            missing = "" if stored.object else f"Secret {self._secret.name} is missing: "
            self._standing.say(WRITING, missing + exc.message)
            return False
        if done and mends:
            self._pace.spend()
        return done

    def _say_whether_broken(self, held: Held, step: Step | None) -> None:
        mends = step is not None and planner.is_repair(step)
        if (mends and not self._pace.allows) or len(held.old) > _MANY:
            self._standing.say(BREAKING, f"Secret {self._secret.name} keeps being broken")
        elif not mends and not self._pace.is_contested:
            self._standing.say(BREAKING)

    async def _take(self, stored: Stored, held: Held, step: Step) -> bool:
        if not isinstance(step, Drop | Keep) and not await self._clock_agrees(stored):
            return False
        maker = RsaMaker(host=self._secret.host, now=self._clock(), plan=self._plan)
        changed = await asyncio.to_thread(planner.changed, held, step, maker)
        await self._secret.write(stored, changed)
        self._standing.say(WRITING)
        _tell(step, changed)
        return True

    async def _clock_agrees(self, stored: Stored) -> bool:
        """Refuse to make certificates by a clock that is far from the API server's, which judges them."""
        there = await self._secret.server_time(stored)
        apart = 0.0 if there is None else self._clock() - there
        if abs(apart) <= _FAR_SECONDS:
            self._standing.say(CLOCK)
            return True
        way = "ahead of" if apart > 0 else "behind"
        said = f"this machine's clock stands {abs(apart):.0f} s {way} the API server's"
        self._standing.say(CLOCK, said)
        return False


def _tell(step: Step, held: Held) -> None:
    about = {"authorities": [each.id[:12] for each in held.authorities]}
    match step:
        case Make():
            _log.warning("ca_made_anew", extra={"why": step.why, **about})
        case Sign():
            _log.info("certificate_signed", extra={"why": step.why, **about})
        case _:
            _log.info(_EVENTS[type(step)], extra=about)
