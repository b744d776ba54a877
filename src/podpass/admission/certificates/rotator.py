"""Run the rotation in each replica: reconcile, serve the Secret's leaf, apply one step, and reconcile again.

A reconcile reads the configurations before the Secret. A CA that is in a bundle was in the Secret before, so
a CA that is missing in the later read of the Secret was removed permanently. In the opposite order, a slow
replica would remove a CA that was just added.
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
from podpass.admission.certificates.ca_bundles import (
    COLLECTION,
    ConfigurationClient,
    ObservedConfiguration,
)
from podpass.admission.certificates.ca_injector import CABundleInjector
from podpass.admission.certificates.model import (
    LeafCertificate,
    ObservedState,
    RotationPolicy,
    ServedCertificate,
    StoredCertificates,
)
from podpass.admission.certificates.secret_store import (
    CertificateSecret,
    SecretSnapshot,
    SecretUpdater,
)
from podpass.admission.certificates.status import API, READING, CertificateStatus
from podpass.clock import Clock, rfc3339
from podpass.http.tls import CertificateInvalid, CertificatePair, ServerTls, validate_pair
from podpass.kubernetes.client import BackOff, KubeClient, KubeError

_log = logging.getLogger(__name__)

_MIN_PAUSE_SECONDS = 0.05
_MAX_BACKOFF_SECONDS = 5.0
_WATCH_SECONDS = 300
_DEFAULT_POLICY = RotationPolicy()


class CertificateRotator:
    """Rotates the webhook's CA and certificate together with the other replicas; use it as a context.

    `context` is the same object for the lifetime of the process; every handshake fails until there is a
    certificate. `configurations` are the names of all configurations that call this webhook.
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
        policy: RotationPolicy = _DEFAULT_POLICY,
    ) -> None:
        self._client, self._clock, self._policy = client, clock, policy
        self._ticks = ticks = time.monotonic
        host = f"{service}.{namespace}.svc"
        self._secret = CertificateSecret(client, namespace, secret, host)
        self._configurations = ConfigurationClient(client, configurations)
        self._tls = ServerTls(minimum=tls_min_version)
        self.context: ssl.SSLContext = self._tls.context
        self._status = CertificateStatus(policy)
        self._rotations = 0
        self._usable = b""
        self._updater = SecretUpdater(self._secret, self._status, policy, clock, ticks)
        self._injector = CABundleInjector(self._configurations, self._status, ticks)
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def not_after(self) -> float:
        served = self._status.served
        return 0.0 if served is None else served.leaf.not_after

    @property
    def ca_not_after(self) -> float:
        served = self._status.served
        return 0.0 if served is None else served.ca.not_after

    @property
    def rotations(self) -> int:
        return self._rotations

    @property
    def is_degraded(self) -> bool:
        return self._status.is_degraded

    def not_ready_reason(self) -> str:
        """Return why API servers do not trust the served certificate, or an empty text."""
        return self._status.not_ready_reason(self._clock(), self._ticks())

    async def __aenter__(self) -> Self:
        watched = [(self._secret.collection, self._secret.name)]
        watched += [(COLLECTION, name) for name in self._configurations.names]
        self._tasks = [asyncio.create_task(self._run(), name="rotation")]
        for collection, name in watched:
            watch = watch_object(self._client, collection, name, self._wake.set)
            self._tasks.append(asyncio.create_task(watch, name=f"watch {name}"))
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
        back_off = BackOff(last=_MAX_BACKOFF_SECONDS)
        while True:
            self._wake.clear()
            try:
                again = await self._reconcile()
                self._status.set_condition(API)
                back_off.reset()
                await self._pause(again=again)
            except KubeError as exc:
                await self._back_off(exc.message, back_off)
            except Exception:  # noqa: BLE001 after any error the replica continues to serve its certificate
                _log.exception("certificate_rotation_failed")
                await self._back_off("internal error of the rotation; the log has it", back_off)

    async def _back_off(self, cause: str, back_off: BackOff) -> None:
        self._status.history = planner.reset_timers(self._status.history)
        self._status.set_condition(API, cause)
        await back_off.wait()

    async def _pause(self, *, again: bool) -> None:
        """Wait for the next reconcile: a watch event, the end of a wait, or the check interval."""
        if again:
            # Random jitter, so that replicas whose writes conflicted do not conflict again.
            await asyncio.sleep(_MIN_PAUSE_SECONDS * random.random())  # noqa: S311 no secret
            return
        await asyncio.sleep(_MIN_PAUSE_SECONDS)
        seconds = self._policy.check_seconds * random.uniform(0.5, 1.5)  # noqa: S311 no secret
        due = planner.seconds_to_next_step(self._status.history, self._ticks(), self._policy)
        waits = [due or 0.0, self._updater.wait_seconds, *self._injector.wait_seconds]
        seconds = min([seconds, *(each for each in waits if each > 0)])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    # ------------------------------------------------------------------------------------------- reconciling

    async def _reconcile(self) -> bool:
        """Reconcile once; return whether to reconcile again immediately.

        Raises KubeError when the API server is unavailable.
        """
        began = self._ticks()
        configurations = [await self._read_configuration(n) for n in self._configurations.names]
        snapshot = await self._read_secret()
        if all(each is not None for each in configurations):
            self._status.configurations_read_at = began
        if snapshot is None:
            self._status.history = planner.reset_timers(self._status.history)
            return False
        self._status.secret_read_at, now = began, self._clock()
        self._status.record_secret(snapshot.certificates, now)
        state = _observe(snapshot.certificates, configurations)
        self._status.history = planner.update_history(
            self._status.history,
            state,
            self._status.served,
            ticks=self._ticks(),
            policy=self._policy,
        )
        self._serve(state, now)
        step = planner.plan_step(
            state,
            self._status.history,
            self._status.served,
            now=now,
            ticks=self._ticks(),
            policy=self._policy,
        )
        if await self._updater.apply(snapshot, state.certificates, step):
            return True
        injected = [
            await self._injector.inject(each, state.certificates) for each in configurations if each
        ]
        return any(injected)

    async def _read_configuration(self, name: str) -> ObservedConfiguration | None:
        """Read a configuration; return None if that is forbidden."""
        try:
            found = await self._configurations.read(name)
        except KubeError as exc:
            if exc.status != 403:
                raise
            self._status.set_condition(name, exc.message)
            return None
        self._status.configurations[name] = found
        return found

    async def _read_secret(self) -> SecretSnapshot | None:
        """Read the Secret; return None if that is forbidden."""
        try:
            snapshot = await self._secret.read()
        except KubeError as exc:
            if exc.status != 403:
                raise
            self._status.set_condition(READING, exc.message)
            return None
        self._status.set_condition(READING)
        return replace(snapshot, certificates=self._drop_unusable_leaf(snapshot.certificates))

    def _drop_unusable_leaf(self, certificates: StoredCertificates) -> StoredCertificates:
        """Drop a leaf that OpenSSL refuses, for example because its key is too short."""
        leaf = certificates.leaf
        if leaf is None or leaf.chain + leaf.key == self._usable:
            return certificates
        try:
            validate_pair(_to_pair(leaf))
        except CertificateInvalid as exc:
            return replace(certificates, leaf=None, faults=(exc.message,))
        self._usable = leaf.chain + leaf.key
        return certificates

    def _serve(self, state: ObservedState, now: float) -> None:
        """Serve the Secret's leaf if the planner decides so."""
        served = self._status.served
        if not planner.should_serve(
            state, self._status.history, served, now=now, ticks=self._ticks(), policy=self._policy
        ):
            return
        leaf, current = state.certificates.leaf, state.certificates.current
        assert leaf is not None
        assert current is not None
        self._tls.load(_to_pair(leaf))
        self._status.record_served(ServedCertificate(leaf=leaf, ca=replace(current, key=b"")))
        self._rotations += 1
        event = "certificate_loaded" if served is None else "certificate_rotated"
        ends = {"not_after": rfc3339(leaf.not_after), "ca_not_after": rfc3339(current.not_after)}
        _log.info(event, extra={"ca": current.id[:12], **ends})


def _to_pair(leaf: LeafCertificate) -> CertificatePair:
    return CertificatePair(chain=leaf.chain, key=leaf.key, not_after=leaf.not_after)


def _observe(
    certificates: StoredCertificates, configurations: Sequence[ObservedConfiguration | None]
) -> ObservedState:
    # An unreadable configuration counts as an empty bundle, so no CA is promoted that it may not contain.
    bundles = [
        ids for each in configurations for ids in ([frozenset()] if each is None else each.ids)
    ]
    own_cas = [
        ca
        for each in configurations
        if each is not None
        for bundle in each.bundles
        for ca in bundle
        if ca.is_own
    ]
    version = tuple("" if each is None else each.version for each in configurations)
    return ObservedState(
        certificates=certificates, bundles=bundles, own_cas=own_cas, version=version
    )


async def watch_object(
    client: KubeClient, collection: str, name: str, wake: Callable[[], None]
) -> None:
    """Call `wake` whenever the object with this name changes, until the task is cancelled.

    The replica then reads the object itself. The watch starts without a list, so the permission to list is
    not needed. A refused watch is logged once; the replica then relies on its periodic reconciles.
    """
    query = {
        "watch": "true",
        "fieldSelector": f"metadata.name={name}",
        "timeoutSeconds": str(_WATCH_SECONDS),
    }
    back_off, is_logged = BackOff(last=_MAX_BACKOFF_SECONDS), False
    while True:
        try:
            stream = client.stream(collection, query, _WATCH_SECONDS + 30)
            async with aclosing(stream) as events:  # type: ignore[type-var]  # an async generator
                async for _ in events:
                    back_off.reset()
                    wake()
        except KubeError as exc:
            if exc.status == 403 and not is_logged:
                is_logged = True
                _log.warning("watch_forbidden", extra={"object": name, "cause": exc.message})
        await back_off.wait()
