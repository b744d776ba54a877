"""The rotation as it runs in each replica: look, serve what is there, take one step, and look again.

Configurations are read before the Secret. Whatever stands in a bundle stood in the Secret before, so what is
missing in the Secret that was read after it has left for good; the other way round, a replica that was slow
would take out an authority that has just joined.
"""

import asyncio
import contextlib
import logging
import random
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import Self

from podpass import names
from podpass.admission.certificates import planner
from podpass.admission.certificates.ca_bundles import COLLECTION, Configurations, Registered
from podpass.admission.certificates.ca_injector import Mending
from podpass.admission.certificates.model import Held, Leaf, Plan, Served, Sight
from podpass.admission.certificates.secret_store import CertificateSecret, Stepping, Stored
from podpass.admission.certificates.status import API, READING, Standing
from podpass.clock import Clock, rfc3339
from podpass.http.tls import CertificateUnfit, Pair, ServerTls, check
from podpass.kubernetes.client import BackOff, KubeClient, KubeError

_log = logging.getLogger(__name__)

_LEAST_PAUSE_SECONDS = 0.05
_LAST_WAIT_SECONDS = 5.0
_DEFAULT_PLAN = Plan()


class Rotation:
    """The webhook's own authority and certificate, kept by all of its replicas together; use as a context.

    Shapes:  `context` is one object for good; until there is a certificate every handshake fails.
             `configurations` are the names of all that call this webhook.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str,
        configurations: Sequence[str],
        clock: Clock,
        tls_min_version: str,
        service: str = names.WEBHOOK_SERVICE,
        secret: str = names.CERTIFICATE_SECRET,
        plan: Plan = _DEFAULT_PLAN,
    ) -> None:
        self._client, self._clock, self._plan = client, clock, plan
        self._ticks = ticks = time.monotonic
        host = f"{service}.{namespace}.svc"
        self._secret = CertificateSecret(client, namespace, secret, host)
        self._configurations = Configurations(client, configurations)
        self._tls = ServerTls(minimum=tls_min_version)
        self.context: ssl.SSLContext = self._tls.context
        self._standing = Standing(plan)
        self._rotations = 0
        self._fit = b""
        self._stepping = Stepping(self._secret, self._standing, plan, clock, ticks)
        self._mending = Mending(self._configurations, self._standing, ticks)
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def not_after(self) -> float:
        served = self._standing.served
        return 0.0 if served is None else served.leaf.not_after

    @property
    def ca_not_after(self) -> float:
        served = self._standing.served
        return 0.0 if served is None else served.authority.not_after

    @property
    def rotations(self) -> int:
        return self._rotations

    @property
    def is_hindered(self) -> bool:
        return self._standing.is_hindered

    def trouble(self) -> str:
        """Say why API servers do not trust what is served; empty when they do."""
        return self._standing.trouble(self._clock(), self._ticks())

    async def __aenter__(self) -> Self:
        heeded = [(self._secret.collection, self._secret.name)]
        heeded += [(COLLECTION, name) for name in self._configurations.names]
        self._tasks = [asyncio.create_task(self._run(), name="rotation")]
        for collection, name in heeded:
            watch = heed(self._client, collection, name, self._wake.set)
            self._tasks.append(asyncio.create_task(watch, name=f"heeding {name}"))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        back_off = BackOff(last=_LAST_WAIT_SECONDS)
        while True:
            self._wake.clear()
            try:
                again = await self._look()
                self._standing.say(API)
                back_off.reset()
                await self._pause(again=again)
            except KubeError as exc:
                await self._failed(exc.message, back_off)
            except Exception:  # noqa: BLE001 whatever it is, what is there is served on
                _log.exception("rotation_failed")
                await self._failed("the rotation failed, as its log tells", back_off)

    async def _failed(self, cause: str, back_off: BackOff) -> None:
        self._standing.seen = planner.out_of_touch(self._standing.seen)
        self._standing.say(API, cause)
        await back_off.wait()

    async def _pause(self, *, again: bool) -> None:
        if again:
            # Replicas that met on one object do not meet again on the next try.
            await asyncio.sleep(_LEAST_PAUSE_SECONDS * random.random())  # noqa: S311 no secret
            return
        await asyncio.sleep(_LEAST_PAUSE_SECONDS)
        seconds = self._plan.check_seconds * random.uniform(0.5, 1.5)  # noqa: S311 no secret
        due = planner.wait_seconds(self._standing.seen, self._ticks(), self._plan)
        waits = [due or 0.0, self._stepping.wait_seconds, *self._mending.wait_seconds]
        seconds = min([seconds, *(each for each in waits if each > 0)])
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    # ---------------------------------------------------------------------------------------------- looking

    async def _look(self) -> bool:
        """Look once and do what is to be done; tell whether to look again at once.

        Errors:  KubeError when the API server cannot be asked.
        """
        began = self._ticks()
        registered = [await self._registered(name) for name in self._configurations.names]
        stored = await self._stored()
        if all(each is not None for each in registered):
            self._standing.heard = began
        if stored is None:
            self._standing.seen = planner.out_of_touch(self._standing.seen)
            return False
        self._standing.read_secret, now = began, self._clock()
        self._standing.judge(stored.held, now)
        sight = _sight(stored.held, registered)
        served, ticks = self._standing.served, self._ticks()
        seen = planner.noted(self._standing.seen, sight, served, ticks=ticks, plan=self._plan)
        self._standing.seen = seen
        self._serve(sight, now)
        step = planner.decide(
            sight,
            self._standing.seen,
            self._standing.served,
            now=now,
            ticks=self._ticks(),
            plan=self._plan,
        )
        if await self._stepping.carry_out(stored, sight.held, step):
            return True
        mended = [await self._mending.mend(each, sight.held) for each in registered if each]
        return any(mended)

    async def _registered(self, name: str) -> Registered | None:
        """Read a configuration; None when that is forbidden."""
        try:
            found = await self._configurations.read(name)
        except KubeError as exc:
            if exc.status != 403:
                raise
            self._standing.say(name, exc.message)
            return None
        self._standing.registered[name] = found
        return found

    async def _stored(self) -> Stored | None:
        """Read the Secret; None when that is forbidden."""
        try:
            stored = await self._secret.read()
        except KubeError as exc:
            if exc.status != 403:
                raise
            self._standing.say(READING, exc.message)
            return None
        self._standing.say(READING)
        return replace(stored, held=self._usable(stored.held))

    def _usable(self, held: Held) -> Held:
        """Leave out a leaf that OpenSSL does not take, say of a short key: it is as good as none."""
        leaf = held.leaf
        if leaf is None or leaf.chain + leaf.key == self._fit:
            return held
        try:
            check(_pair(leaf))
        except CertificateUnfit as exc:
            return replace(held, leaf=None, faults=(exc.message,))
        self._fit = leaf.chain + leaf.key
        return held

    def _serve(self, sight: Sight, now: float) -> None:
        """Serve the Secret's leaf if it is time to."""
        served, ticks = self._standing.served, self._ticks()
        if not planner.takes(
            sight, self._standing.seen, served, now=now, ticks=ticks, plan=self._plan
        ):
            return
        leaf, current = sight.held.leaf, sight.held.current
        assert leaf is not None
        assert current is not None
        self._tls.take(_pair(leaf))
        self._standing.take(Served(leaf=leaf, authority=replace(current, key=b"")))
        self._rotations += 1
        event = "certificate_taken" if served is None else "certificate_rotated"
        ends = {"not_after": rfc3339(leaf.not_after), "ca_not_after": rfc3339(current.not_after)}
        _log.info(event, extra={"ca": current.id[:12], **ends})


def _pair(leaf: Leaf) -> Pair:
    return Pair(chain=leaf.chain, key=leaf.key, not_after=leaf.not_after)


def _sight(held: Held, registered: Sequence[Registered | None]) -> Sight:
    # What may not be read carries nothing: no step is taken that others would have to know of.
    bundles = [ids for each in registered for ids in ([frozenset()] if each is None else each.ids)]
    found = [
        authority
        for each in registered
        if each is not None
        for bundle in each.bundles
        for authority in bundle
        if authority.ours
    ]
    version = tuple("" if each is None else each.version for each in registered)
    return Sight(held=held, bundles=bundles, found=found, version=version)


_log = logging.getLogger(__name__)
_SECONDS = 300
_LAST_WAIT_SECONDS = 5.0


async def heed(client: KubeClient, collection: str, name: str, wake: Callable[[], None]) -> None:
    """Call `wake` whenever an object of this name changes, for as long as the task lives.

    What changed is read by whoever was woken. Without a list before it, so that the right to list is not
    needed; a server that refuses the watch is said once, and looks at intervals go on without it.
    """
    query = {
        "watch": "true",
        "fieldSelector": f"metadata.name={name}",
        "timeoutSeconds": str(_SECONDS),
    }
    back_off, told = BackOff(last=_LAST_WAIT_SECONDS), False
    while True:
        try:
            stream = client.stream(collection, query, _SECONDS + 30)
            async with aclosing(stream) as events:  # type: ignore[type-var]  # an async generator
                async for _ in events:
                    back_off.reset()
                    wake()
        except KubeError as exc:
            if exc.status == 403 and not told:
                told = True
                _log.warning("watch_forbidden", extra={"object": name, "cause": exc.message})
        await back_off.wait()
