"""Taking a step on the Secret: make what it needs, write it if nobody was quicker, and say so."""

import asyncio
import logging

from podpass.admission.certificates import decide
from podpass.admission.certificates.make import RsaMaker
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
from podpass.admission.certificates.pace import Pace
from podpass.admission.certificates.secret import CertificateSecret, Stored
from podpass.admission.certificates.standing import BREAKING, CLOCK, WRITING, Standing
from podpass.clock import Clock
from podpass.kube import KubeError

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
        mends = decide.is_repair(step)
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
        mends = step is not None and decide.is_repair(step)
        if (mends and not self._pace.allows) or len(held.old) > _MANY:
            self._standing.say(BREAKING, f"Secret {self._secret.name} keeps being broken")
        elif not mends and not self._pace.is_contested:
            self._standing.say(BREAKING)

    async def _take(self, stored: Stored, held: Held, step: Step) -> bool:
        if not isinstance(step, Drop | Keep) and not await self._clock_agrees(stored):
            return False
        maker = RsaMaker(host=self._secret.host, now=self._clock(), plan=self._plan)
        changed = await asyncio.to_thread(decide.changed, held, step, maker)
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
