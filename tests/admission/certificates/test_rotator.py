"""Replicas with a cluster: the first certificate, rotations under load, and ten years of rotation."""

import asyncio
import random
import ssl
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.x509 import verification

from podpass import names
from podpass.admission.certificates import RotationPolicy
from podpass.kubernetes.client import KubeError
from tests.admission.certificates.lab import (
    CONFIGURATIONS,
    HOST,
    MAIN,
    SECOND,
    Lab,
    Replica,
    configuration,
    handshake,
)
from tests.waiting import eventually

pytestmark = pytest.mark.processes

DAY = 24 * 3600


async def test_first_replica_creates_certificates_and_is_trusted(lab: Lab) -> None:
    replica = await lab.replica()
    assert "certificate" in replica.rotation.not_ready_reason()
    assert replica.rotation.not_after == replica.rotation.ca_not_after == 0
    context = replica.rotation.context
    await eventually(lambda: not replica.rotation.not_ready_reason())
    (bundle,) = await lab.bundles()
    assert await handshake(replica.port, bundle)
    assert replica.rotation.context is context
    assert replica.rotation.rotations == 1
    now = lab.clock()
    assert abs(replica.rotation.not_after - (now + 365 * DAY)) < 60
    assert abs(replica.rotation.ca_not_after - (now + 3650 * DAY)) < 60


async def test_handshake_fails_without_certificate(lab: Lab) -> None:
    replica = await lab.replica(policy=RotationPolicy(propagation_seconds=600))
    bundle = await eventually(lambda: _read_bundle(lab))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await handshake(replica.port, bundle)
    assert "600 s" in replica.rotation.not_ready_reason()
    # No leaf is stored before every API server trusts it, so no starting replica can serve it too early.
    assert not (await lab.data())[names.TLS_CERTIFICATE]


async def test_rotator_that_is_stopped_while_an_object_changes_stops(lab: Lab) -> None:
    """Fails if the cancellation is lost when the event arrives in the same iteration of the event loop."""
    replica = await lab.replica()
    # It waits for an event, and is not in a reconcile.
    await eventually(lambda: bool(replica.rotation._wake._waiters))
    replica.rotation._wake.set()
    async with asyncio.timeout(60):
        await replica.end.aclose()


async def test_replicas_that_start_together_agree_on_one_ca(lab: Lab) -> None:
    await lab.admin.create(CONFIGURATIONS, configuration(SECOND, hooks=2))
    replicas = [await lab.replica(configurations=(MAIN, SECOND)) for _ in range(3)]
    await eventually(lambda: not any(each.rotation.not_ready_reason() for each in replicas))
    bundles = {*await lab.bundles(), *await lab.bundles(SECOND)}
    assert len(bundles) == 1
    assert bundles.pop().count("BEGIN CERTIFICATE") == 1
    assert len({each.rotation.not_after for each in replicas}) == 1


async def test_unchanged_state_causes_no_write(lab: Lab) -> None:
    replicas = [await lab.replica() for _ in range(3)]
    await eventually(lambda: not any(each.rotation.not_ready_reason() for each in replicas))
    await asyncio.sleep(0.5)
    before = lab.cluster.store.revision
    await asyncio.sleep(2)
    assert lab.cluster.store.revision == before


async def test_only_the_bundle_of_a_configuration_is_changed(lab: Lab) -> None:
    before = await lab.admin.get(f"{CONFIGURATIONS}/{MAIN}")
    replica = await lab.replica()
    await eventually(lambda: not replica.rotation.not_ready_reason())
    after = await lab.admin.get(f"{CONFIGURATIONS}/{MAIN}")
    for hook in after["webhooks"]:
        del hook["clientConfig"]["caBundle"]
    for part in ("resourceVersion", "generation", "managedFields"):
        del before["metadata"][part]
        del after["metadata"][part]
    assert after == before


# ------------------------------------------------------------------------------------------------ load


@dataclass
class Caller:
    """API servers that observe a changed configuration up to `lag` seconds late, and call continuously."""

    lab: Lab
    lag: float
    observed: list[tuple[float, str]] = field(default_factory=list)
    calls: int = 0
    failures: list[str] = field(default_factory=list)
    history: set[bytes] = field(default_factory=set)

    async def observe(self) -> None:
        while True:
            try:
                (bundle,) = await self.lab.bundles()
            except KubeError:
                continue
            if not self.observed or self.observed[-1][1] != bundle:
                self.observed.append((time.monotonic(), bundle))
            await asyncio.sleep(0.02)

    async def call(self, replica: Replica) -> None:
        """Call until the task is cancelled, after the replica is ready."""
        await eventually(lambda: self.observed and not replica.rotation.not_ready_reason())
        while True:
            moment = time.monotonic() - random.uniform(0, self.lag)
            bundle = next(
                (b for at, b in reversed(self.observed) if at <= moment), self.observed[0][1]
            )
            self.calls += 1
            try:
                self.history.add(await handshake(replica.port, bundle))
            except (OSError, ValueError) as exc:
                self.failures.append(f"{replica.port}: {exc}")
            await asyncio.sleep(0)


async def test_no_handshake_fails_while_cas_change_every_second(lab: Lab) -> None:
    """Three replicas; during the rotations each one is killed and replaced."""
    policy = RotationPolicy(
        ca_seconds=60,
        leaf_seconds=60,
        renew_before_seconds=59,
        propagation_seconds=0.6,
        overlap_seconds=10,
        check_seconds=0.2,
    )
    replicas = [await lab.replica(policy=policy) for _ in range(3)]
    await eventually(lambda: not any(each.rotation.not_ready_reason() for each in replicas))
    caller = Caller(lab, lag=0.4)
    listening = asyncio.create_task(caller.observe())
    calls = {each.port: asyncio.create_task(caller.call(each)) for each in replicas}
    for victim in replicas:
        await asyncio.sleep(2.5)
        calls.pop(victim.port).cancel()
        await victim.end.aclose()
        fresh = await lab.replica(policy=policy)
        calls[fresh.port] = asyncio.create_task(caller.call(fresh))
    last = lab.replicas[-1]
    await eventually(lambda: last.rotation.rotations >= 4, 60)
    for task in (listening, *calls.values()):
        task.cancel()
    await asyncio.gather(listening, *calls.values(), return_exceptions=True)
    assert caller.failures == []
    assert caller.calls > 100
    assert len(caller.history) >= 5


# ------------------------------------------------------------------------------------- long-term rotation


async def test_served_certificate_is_trusted_for_ten_years(lab: Lab) -> None:
    """The API server's clock advances too; an independent verifier checks each served certificate."""
    policy = RotationPolicy(propagation_seconds=0.2, overlap_seconds=8, check_seconds=0.1)
    replicas = [await lab.replica(policy=policy) for _ in range(2)]
    await eventually(lambda: not any(each.rotation.not_ready_reason() for each in replicas))
    began, leaves = replicas[0].rotation.ca_not_after, set[bytes]()
    for _ in range(66):  # of 60 days: ten years and ten months
        lab.clock.ahead += 60 * DAY
        await asyncio.sleep(0.1)
        await eventually(lambda: _are_due_certificates_renewed(lab, replicas))
        (bundle,) = await lab.bundles()
        for each in replicas:
            leaves.add(leaf := await _read_served_certificate(each))
            _verify(leaf, bundle, lab.clock())
    assert len(leaves) >= 12, "a leaf a year, replaced three months ahead"
    assert replicas[0].rotation.ca_not_after > began + 9 * 365 * DAY, "another CA"


def _are_due_certificates_renewed(lab: Lab, replicas: list[Replica]) -> bool:
    """Return whether all certificates that were due are replaced; the old CA may still be trusted."""
    due = lab.clock() + 91 * DAY
    ends = [each.rotation.not_after for each in replicas]
    ends += [each.rotation.ca_not_after for each in replicas]
    return min(ends) > due and not any(each.rotation.not_ready_reason() for each in replicas)


def _verify(leaf: bytes, bundle: str, now: float) -> None:
    store = verification.Store(x509.load_pem_x509_certificates(bundle.encode()))
    builder = verification.PolicyBuilder().store(store).time(datetime.fromtimestamp(now, tz=UTC))
    verifier = builder.build_server_verifier(x509.DNSName(HOST))
    assert verifier.verify(x509.load_der_x509_certificate(leaf), [])


async def _read_served_certificate(replica: Replica) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", replica.port, ssl=context)
    try:
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return found
    finally:
        writer.close()
        await writer.wait_closed()


async def _read_bundle(lab: Lab) -> str:
    (bundle,) = await lab.bundles()
    return bundle
