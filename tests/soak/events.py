"""What happens to a service while it is under load: keys are replaced, an issuer is away, people change."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.soak import people
from tests.soak.asking import Answer, Asker, form
from tests.soak.cases import GRANTED, Cases
from tests.soak.lane import TENANT
from tests.soak.replica import podpass
from tests.soak.site import Site
from tests.soak.wrong import Wrong

# How long the service may go on by what it knew.
STALE_SECONDS = 1.0
# What a fetch of an issuer's documents may take, and by how many times an issuer that fails again and again
# is asked less often.
_FETCH_SECONDS = 3.0
_PATIENCE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """How the service under load treats issuers.

    Units:   seconds, as its flags.
    """

    fresh: int
    retry: int
    refetch: int

    @property
    def flags(self) -> list[str]:
        return [
            *("--issuer-fresh-seconds", str(self.fresh)),
            *("--issuer-retry-seconds", str(self.retry)),
            *("--issuer-refetch-seconds", str(self.refetch)),
        ]


async def settles(
    askers: Sequence[Asker], asked: dict[str, str], *, wanted: int, until: int, seconds: float
) -> float:
    """Ask everyone, and see the wanted code take over; give when the old one was last asked for and given.

    Shapes:  until then each may give `until`, the answer of before; after `seconds` none may.
    Errors:  Wrong.
    """
    began = time.monotonic()
    old = 0.0
    while True:
        asked_at = time.monotonic() - began
        answers = await asyncio.gather(*(asker.ask(asked) for asker in askers))
        _check(answers, {wanted, until} if asked_at <= seconds else {wanted}, asked_at)
        if any(answer.code != wanted for answer in answers):
            old = asked_at
        if asked_at > seconds:
            return old
        await asyncio.sleep(0.02)


def _check(answers: Sequence[Answer], allowed: set[int], after: float) -> None:
    for answer in answers:
        if answer.code not in allowed:
            said = f"{after:.2f} s after a change the answer is {answer.code}"
            raise Wrong(f"{said}, not one of {sorted(allowed)}: {answer.cause}")


class Events:
    """One of each kind at a time, by whoever is in charge of it."""

    def __init__(self, site: Site, cases: Cases, askers: Sequence[Asker], ages: Ages) -> None:
        self._site, self._cases, self._askers, self._ages = site, cases, askers, ages
        # What may be seen of an issuer that changes is of that alone.
        self._issuer = asyncio.Lock()
        self.done: Counter[str] = Counter()
        self.learnt: list[float] = []

    async def change_somebody(self, number: int) -> None:
        """Let an identity come, lose its trust, win it back, be disabled, and go; each seen in a second."""
        async with self._issuer:
            await self._change_somebody(number)

    async def _change_somebody(self, number: int) -> None:
        account = f"passing-{number}"
        client_id = people.client(1_000_000 + number)
        store, issuer = self._site.directory.identities, self._site.issuer
        asked = form(client_id, issuer.assertion(account))
        trusted = people.credential(issuer.url(), account)
        here = people.identity(client_id, account, trusted)
        elsewhere = replace(here, credentials=(replace(trusted, subject="system:other"),))
        for state, code, before in (
            (here, GRANTED, 700016),
            (elsewhere, 700213, GRANTED),
            (here, GRANTED, 700213),
            (replace(here, enabled=False), 7000112, GRANTED),
        ):
            await store.put(state)
            await self._see(asked, code, before)
        await store.delete(TENANT.id, client_id)
        await self._see(asked, 700016, 7000112)
        self.done["identities changed five times"] += 1

    async def _see(self, asked: dict[str, str], code: int, before: int) -> None:
        took = await settles(self._askers, asked, wanted=code, until=before, seconds=STALE_SECONDS)
        self.learnt.append(took)

    async def rotate_signing_key(self) -> None:
        """Let the service sign with another key at once."""
        await asyncio.to_thread(
            podpass, "authority", "rotate", "--at-once", *self._site.place.stored()
        )
        self.done["signing key rotations"] += 1

    async def rotate_issuer_key(self) -> None:
        """Replace the issuer's key: published ahead, then used, then the old one withdrawn."""
        async with self._issuer:
            await self._rotate_issuer_key()

    async def _rotate_issuer_key(self) -> None:
        issuer = self._site.issuer
        old = issuer.ring.active.kid
        before = form(people.client(0), issuer.assertion(people.account(0)))
        self._cases.unsettled = True
        await asyncio.to_thread(issuer.ring.rotate)
        # Whoever signs with a new key at once is refused until its issuer is asked again: that is allowed.
        fresh = form(people.client(0), issuer.assertion(people.account(0)))
        limit = self._ages.refetch + _FETCH_SECONDS
        await settles(self._askers, fresh, wanted=GRANTED, until=7000272, seconds=limit)
        self._cases.renew()
        self._cases.unsettled = False
        issuer.ring.retire(old)
        # Documented: a withdrawn key works no longer than an issuer's keys are fresh.
        limit = self._ages.fresh + _FETCH_SECONDS
        await settles(self._askers, before, wanted=7000272, until=GRANTED, seconds=limit)
        self.done["issuer key rotations"] += 1

    async def issuer_outage(self, number: int, seconds: float) -> None:
        """Stop the issuer: known keys go on, one that nobody has asked yet is down, then comes back."""
        async with self._issuer:
            await self._issuer_outage(number, seconds)

    async def _issuer_outage(self, number: int, seconds: float) -> None:
        issuer = self._site.issuer
        name, account = f"unasked-{number}", f"far-{number}"
        client_id = people.client(2_000_000 + number)
        trusted = people.credential(issuer.url(name), account)
        await self._site.directory.identities.put(people.identity(client_id, account, trusted))
        await asyncio.sleep(STALE_SECONDS)
        asked = form(client_id, issuer.assertion(account, name=name))
        await asyncio.to_thread(issuer.stop)
        try:
            await settles(self._askers, asked, wanted=501661, until=501661, seconds=seconds)
        finally:
            await asyncio.to_thread(issuer.start)
        limit = _PATIENCE * self._ages.retry + _FETCH_SECONDS
        await settles(self._askers, asked, wanted=GRANTED, until=501661, seconds=limit)
        self.done["issuer outages"] += 1
