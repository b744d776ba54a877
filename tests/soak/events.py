"""Events during a load: signing keys rotate, an issuer is unavailable, identities change."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.soak import identities
from tests.soak.cases import GRANTED, RequestCases
from tests.soak.lane import TENANT
from tests.soak.replica import run_podpass
from tests.soak.report import Violation
from tests.soak.testbed import Testbed
from tests.soak.token_client import TokenClient, TokenResponse, token_form

# How long a replica may use data that has changed in the database.
STALE_SECONDS = 1.0
# The longest fetch of an issuer's documents, and the factor of the longest backoff for an issuer that fails.
_FETCH_SECONDS = 3.0
_BACKOFF_FACTOR = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerCacheAges:
    """The service's settings for cached issuer documents.

    Units: seconds.
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


async def wait_for_code(
    clients: Sequence[TokenClient],
    asked: dict[str, str],
    *,
    wanted: int,
    until: int,
    seconds: float,
) -> float:
    """Send a request to all replicas for `seconds`; return the time of the last response with the old code.

    Until then a replica may return `until`, the old code; after `seconds` it must return `wanted`. Raises
    Violation.
    """
    began = time.monotonic()
    old = 0.0
    while True:
        asked_at = time.monotonic() - began
        answers = await asyncio.gather(*(client.request_token(asked) for client in clients))
        _check(answers, {wanted, until} if asked_at <= seconds else {wanted}, asked_at)
        if any(answer.code != wanted for answer in answers):
            old = asked_at
        if asked_at > seconds:
            return old
        await asyncio.sleep(0.02)


def _check(answers: Sequence[TokenResponse], allowed: set[int], after: float) -> None:
    for answer in answers:
        if answer.code not in allowed:
            said = f"{after:.2f} s after a change the code is {answer.code}"
            raise Violation(f"{said}, not one of {sorted(allowed)}: {answer.cause}")


class ServiceEvents:
    """Causes events, one of each kind at a time, and checks their effect."""

    def __init__(
        self,
        testbed: Testbed,
        cases: RequestCases,
        clients: Sequence[TokenClient],
        ages: IssuerCacheAges,
    ) -> None:
        self._testbed, self._cases, self._clients, self._ages = testbed, cases, clients, ages
        # While an issuer changes, no other event may affect what its clients receive.
        self._issuer = asyncio.Lock()
        self.done: Counter[str] = Counter()
        self.propagation_seconds: list[float] = []

    async def change_identity(self, number: int) -> None:
        """Create, change twice, disable and delete an identity; each step takes effect within a second."""
        async with self._issuer:
            await self._change_identity(number)

    async def _change_identity(self, number: int) -> None:
        account = f"passing-{number}"
        client_id = identities.stable_client_id(1_000_000 + number)
        store, issuer = self._testbed.directory.identities, self._testbed.issuer
        asked = token_form(client_id, issuer.assertion(account))
        trusted = identities.credential(issuer.url(), account)
        here = identities.managed_identity(client_id, account, trusted)
        elsewhere = replace(here, credentials=(replace(trusted, subject="system:other"),))
        for state, code, before in (
            (here, GRANTED, 700016),
            (elsewhere, 700213, GRANTED),
            (here, GRANTED, 700213),
            (replace(here, enabled=False), 7000112, GRANTED),
        ):
            await store.put(state)
            await self._wait_for_code(asked, code, before)
        await store.delete(TENANT.id, client_id)
        await self._wait_for_code(asked, 700016, 7000112)
        self.done["identities changed five times"] += 1

    async def _wait_for_code(self, asked: dict[str, str], code: int, before: int) -> None:
        took = await wait_for_code(
            self._clients, asked, wanted=code, until=before, seconds=STALE_SECONDS
        )
        self.propagation_seconds.append(took)

    async def rotate_signing_key(self) -> None:
        """Rotate the service's signing key at once."""
        await asyncio.to_thread(
            run_podpass, "authority", "rotate", "--at-once", *self._testbed.config.database_flags()
        )
        self.done["signing key rotations"] += 1

    async def rotate_issuer_key(self) -> None:
        """Rotate the issuer's key: publish a new key, sign with it, then withdraw the old key."""
        async with self._issuer:
            await self._rotate_issuer_key()

    async def _rotate_issuer_key(self) -> None:
        issuer = self._testbed.issuer
        old = issuer.ring.active.kid
        before = token_form(
            identities.stable_client_id(0), issuer.assertion(identities.account_name(0))
        )
        self._cases.key_rotating = True
        await asyncio.to_thread(issuer.ring.rotate)
        # A token that is signed with a new key may be refused until the service fetches the keys again.
        fresh = token_form(
            identities.stable_client_id(0), issuer.assertion(identities.account_name(0))
        )
        limit = self._ages.refetch + _FETCH_SECONDS
        await wait_for_code(self._clients, fresh, wanted=GRANTED, until=7000272, seconds=limit)
        self._cases.sign_again()
        self._cases.key_rotating = False
        issuer.ring.retire(old)
        # Documented: the service accepts a withdrawn key only as long as it caches the issuer's keys.
        limit = self._ages.fresh + _FETCH_SECONDS
        await wait_for_code(self._clients, before, wanted=7000272, until=GRANTED, seconds=limit)
        self.done["issuer key rotations"] += 1

    async def issuer_outage(self, number: int, seconds: float) -> None:
        """Stop the issuer: cached keys stay valid; an issuer without cached keys fails until it is back."""
        async with self._issuer:
            await self._issuer_outage(number, seconds)

    async def _issuer_outage(self, number: int, seconds: float) -> None:
        issuer = self._testbed.issuer
        name, account = f"unasked-{number}", f"far-{number}"
        client_id = identities.stable_client_id(2_000_000 + number)
        trusted = identities.credential(issuer.url(name), account)
        await self._testbed.directory.identities.put(
            identities.managed_identity(client_id, account, trusted)
        )
        await asyncio.sleep(STALE_SECONDS)
        asked = token_form(client_id, issuer.assertion(account, name=name))
        await asyncio.to_thread(issuer.stop)
        try:
            await wait_for_code(self._clients, asked, wanted=501661, until=501661, seconds=seconds)
        finally:
            await asyncio.to_thread(issuer.start)
        limit = _BACKOFF_FACTOR * self._ages.retry + _FETCH_SECONDS
        await wait_for_code(self._clients, asked, wanted=GRANTED, until=501661, seconds=limit)
        self.done["issuer outages"] += 1
