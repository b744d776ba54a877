"""No call fails in any sequence of steps, crashes, disconnections, clock errors and damage.

A call fails when a replica that still gets calls serves a leaf whose CA is missing in a bundle that some API
server may still use.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Generic, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from podpass.admission.certificates import planner
from podpass.admission.certificates.ca_bundles import ObservedConfiguration
from podpass.admission.certificates.model import (
    CertificateAuthority,
    ObservedState,
    RemoveCA,
    RestoreCA,
    ServedCertificate,
    Step,
    StoredCertificates,
)
from podpass.admission.certificates.status import CLOCK, CertificateStatus
from tests.admission.certificates.fake_issuer import BACKDATE, NOW, POLICY, FakeIssuer
from tests.suite_policy import examples

pytestmark = pytest.mark.timeout(600)  # many seconds of CPU time, which a busy machine gives slowly

NAMES = ("one", "two")
REPLICAS = 3
ENDPOINT_SECONDS = 20  # until a replica that is not ready no longer gets calls
SLOW, FAR = (
    -160.0,
    1e6,
)  # so slow that a new certificate is not valid yet, but the previous one is still valid
FOREIGN = CertificateAuthority(
    id="foreign", certificate=b"", not_before=0, not_after=math.inf, is_own=False
)

Bundle = tuple[CertificateAuthority, ...]
T = TypeVar("T")


class Versioned(Generic[T]):
    """A value with optimistic concurrency, and its history."""

    def __init__(self, value: T) -> None:
        self.past = [(-math.inf, value)]

    @property
    def version(self) -> int:
        return len(self.past)

    @property
    def value(self) -> T:
        return self.past[-1][1]

    def put(self, at: float, value: T, version: int) -> None:
        if version == self.version:
            self.past.append((at, value))

    def since(self, moment: float) -> Sequence[T]:
        """Return every value that it had after a time."""
        first = bisect_right(self.past, moment, key=itemgetter(0)) - 1
        return [value for _, value in self.past[first:]]


@dataclass
class Replica:
    """One process: its memory, and the progress of its reconcile."""

    status: CertificateStatus = field(default_factory=lambda: CertificateStatus(POLICY))
    began: float = 0
    read: dict[str, tuple[int, Bundle]] | None = None
    step: tuple[int, StoredCertificates, Step] | None = None
    bundles: dict[str, tuple[int, Bundle]] = field(default_factory=dict)
    ready_at: float = -math.inf

    def reset(self) -> None:
        self.read, self.step, self.bundles = None, None, {}


class Cluster(RuleBasedStateMachine):
    """Replicas with one API server, which may use bundles as old as the policy allows."""

    def __init__(self) -> None:
        super().__init__()
        self.time = NOW
        self.issuer = FakeIssuer()
        self.secret = Versioned(StoredCertificates())
        self.configurations = {name: Versioned[Bundle](()) for name in NAMES}
        self.replicas = [Replica() for _ in range(REPLICAS)]
        self.offsets = [0.0] * REPLICAS

    which = st.integers(0, REPLICAS - 1)

    @initialize(settled=st.booleans())
    def begin(self, settled: bool) -> None:
        if settled:
            self.run(100)

    # ---------------------------------------------------------------------------------------- reconcile steps

    @rule(which=which)
    def read_configurations(self, which: int) -> None:
        replica = self.replicas[which]
        replica.reset()
        replica.began = replica.status.configurations_read_at = self.time
        replica.read = {name: (c.version, c.value) for name, c in self.configurations.items()}
        replica.status.configurations = {
            name: ObservedConfiguration(name=name, object={}, bundles=(bundle,))
            for name, (_, bundle) in replica.read.items()
        }

    @rule(which=which)
    def read_secret(self, which: int) -> None:
        replica, status = self.replicas[which], self.replicas[which].status
        if replica.read is None:
            return
        certificates = self.secret.value
        bundles = [bundle for _, bundle in replica.read.values()]
        state = ObservedState(
            certificates=certificates,
            bundles=[frozenset(each.id for each in bundle) for bundle in bundles],
            own_cas=[each for bundle in bundles for each in bundle if each.is_own],
            version=tuple(str(version) for version, _ in replica.read.values()),
        )
        status.secret_read_at = replica.began
        now = self.time + self.offsets[which]
        status.record_secret(certificates, now)
        status.history = planner.update_history(
            status.history, state, status.served, ticks=self.time, policy=POLICY
        )
        if planner.should_serve(
            state, status.history, status.served, now=now, ticks=self.time, policy=POLICY
        ):
            assert certificates.leaf is not None
            assert certificates.current is not None
            status.record_served(
                ServedCertificate(leaf=certificates.leaf, ca=replace(certificates.current, key=b""))
            )
        step = planner.plan_step(
            state, status.history, status.served, now=now, ticks=self.time, policy=POLICY
        )
        if step is not None:
            replica.step = (self.secret.version, certificates, step)
        elif certificates.current is not None:
            replica.bundles = {
                name: (version, patched)
                for name, (version, bundle) in replica.read.items()
                if (patched := build_desired_bundle(certificates, bundle)) is not None
            }
        replica.read = None

    @rule(which=which)
    def write_secret(self, which: int) -> None:
        replica = self.replicas[which]
        if replica.step is None:
            replica.status.set_condition(CLOCK)
            return
        (version, certificates, step), replica.step = replica.step, None
        if not isinstance(step, RemoveCA | RestoreCA):
            if abs(self.offsets[which]) > BACKDATE / 2:
                replica.status.set_condition(
                    CLOCK, "the API server's own time says that it is wrong"
                )
                return
            replica.status.set_condition(CLOCK)
        self.issuer.now = self.time + self.offsets[which]
        self.secret.put(self.time, planner.apply_step(certificates, step, self.issuer), version)

    @rule(which=which, name=st.sampled_from(NAMES))
    def write_configuration(self, which: int, name: str) -> None:
        if (write := self.replicas[which].bundles.pop(name, None)) is not None:
            version, bundle = write
            self.configurations[name].put(self.time, bundle, version)

    @rule(which=which)
    def reconcile(self, which: int) -> None:
        for _ in range(4):
            before = self.progress(which)
            self.read_configurations(which)
            self.read_secret(which)
            self.write_secret(which)
            for name in NAMES:
                self.write_configuration(which, name)
            # At the same time, the next round would read the same state and decide the same.
            if self.progress(which) == before:
                break

    # -------------------------------------------------------------------------------------- events

    @rule(seconds=st.integers(1, 40))
    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.time += 1
            self.record_ready()

    @rule(seconds=st.sampled_from([20, 100, 260]))
    def reconcile_all(self, seconds: int) -> None:
        """Reconcile every replica at the usual interval."""
        self.run(seconds)

    @rule(which=which, seconds=st.sampled_from([60, 150, 300]))
    def reconcile_all_except(self, which: int, seconds: int) -> None:
        """Reconcile all replicas except one."""
        self.run(seconds, but=which)

    @rule(which=which, seconds=st.sampled_from([60, 150, 300]))
    def reconcile_without_secret(self, which: int, seconds: int) -> None:
        """Reconcile one replica that can read the configurations but not the Secret."""
        for _ in range(0, seconds, 5):
            self.run(5, but=which)
            self.read_configurations(which)
            self.fail_reconcile(which)

    @rule(seconds=st.sampled_from([10, 40, 90, 150]))
    def interrupt_api_server(self, seconds: int) -> None:
        """Make the API server unavailable: no replica reconciles, and readiness is not observed."""
        self.record_ready()
        ready = [replica for replica in self.replicas if replica.ready_at == self.time]
        self.time += seconds
        for replica in self.replicas:
            replica.reset()
            replica.status.history = planner.reset_timers(replica.status.history)
        for replica in ready:
            replica.ready_at = self.time

    @rule(which=which)
    def crash(self, which: int) -> None:
        self.replicas[which] = Replica()

    @rule(which=which)
    def restart(self, which: int) -> None:
        self.replicas[which] = Replica()
        self.reconcile(which)

    @rule(which=which)
    def fail_reconcile(self, which: int) -> None:
        replica = self.replicas[which]
        replica.reset()
        replica.status.history = planner.reset_timers(replica.status.history)

    @rule(which=which, offset=st.sampled_from([0.0, 5.0, -5.0, -60.0, SLOW, FAR, -FAR]))
    def set_clock(self, which: int, offset: float) -> None:
        self.offsets[which] = offset

    @rule(what=st.sampled_from(["all", "key", "leaf", "added"]))
    def damage_secret(self, what: str) -> None:
        certificates = self.secret.value
        broken = {
            "all": StoredCertificates(faults=("nothing can be read",)),
            "key": StoredCertificates(old=certificates.cas, faults=("ca.key does not fit",)),
            "leaf": replace(certificates, leaf=None, faults=("tls.crt cannot be read",)),
            "added": replace(
                certificates,
                added=None,
                old=(*([certificates.added] if certificates.added else []), *certificates.old),
            ),
        }[what]
        self.secret.put(self.time, broken, self.secret.version)

    @precondition(lambda self: self.secret.value.current is not None)
    @rule(name=st.sampled_from(NAMES), age=st.integers(0, int(POLICY.propagation_seconds) - 1))
    def copy_ca_crt_like_reference(self, name: str, age: int) -> None:
        """Replace the bundle with an old version of `ca.crt`, as a slow replica of the reference does."""
        certificates = self.secret.since(self.time - age)[0]
        if certificates.current is not None:
            configuration = self.configurations[name]
            configuration.put(self.time, certificates.cas, configuration.version)

    @rule(name=st.sampled_from(NAMES))
    def add_foreign_ca(self, name: str) -> None:
        configuration = self.configurations[name]
        bundle = configuration.value
        if FOREIGN not in bundle:
            configuration.put(self.time, (FOREIGN, *bundle), configuration.version)

    # ------------------------------------------------------------------------------------ invariants

    @invariant()
    def every_call_is_trusted(self) -> None:
        self.record_ready()
        for replica in self.replicas:
            served = replica.status.served
            if served is None or replica.ready_at < self.time - ENDPOINT_SECONDS:
                continue
            for name, configuration in self.configurations.items():
                for bundle in configuration.since(self.time - POLICY.propagation_seconds):
                    ids = {each.id for each in bundle}
                    assert served.ca.id in ids, f"{name} lacks the served CA"

    @invariant()
    def reference_accepts_the_secret(self) -> None:
        certificates = self.secret.value
        if certificates.leaf is not None:
            assert certificates.current is not None
            assert certificates.leaf.ca_id == certificates.current.id
            assert certificates.current.key

    def teardown(self) -> None:
        """Check that all replicas converge to one CA without faults and with correct clocks."""
        self.offsets = [0.0] * REPLICAS
        self.run(400)
        for _ in range(40):  # wait until no rotation is in progress
            certificates = self.secret.value
            if certificates.current and not certificates.added and not certificates.old:
                break
            self.run(20)
        assert certificates.current is not None
        assert [each.id for each in certificates.cas] == [certificates.current.id]
        for replica in self.replicas:
            assert replica.status.served is not None
            assert replica.status.served.leaf == certificates.leaf
            assert replica.status.not_ready_reason(self.time, self.time) == ""
        for configuration in self.configurations.values():
            bundle = configuration.value
            assert {each.id for each in bundle} - {"foreign"} == {certificates.current.id}

    # ------------------------------------------------------------------------------------------- helpers

    def run(self, seconds: int, but: int = -1) -> None:
        for second in range(seconds):
            self.time += 1
            if second % 5 == 0:
                for which in range(REPLICAS):
                    if which != but:
                        self.reconcile(which)
            self.every_call_is_trusted()

    def progress(self, which: int) -> tuple[object, ...]:
        """Return what a reconcile of one replica can change."""
        versions = [each.version for each in self.configurations.values()]
        return (self.secret.version, *versions, self.replicas[which].status.served)

    def record_ready(self) -> None:
        for which, replica in enumerate(self.replicas):
            now = self.time + self.offsets[which]
            if not replica.status.not_ready_reason(now, self.time):
                replica.ready_at = self.time


def test_bundle_reset_between_reconciles_delays_first_leaf_of_new_ca() -> None:
    """Found by the state machine: a replica of the reference had not observed the new CA yet."""
    cluster = Cluster()
    cluster.begin(settled=True)
    cluster.damage_secret(what="all")
    cluster.reconcile(which=0)
    cluster.copy_ca_crt_like_reference(age=1, name="one")
    cluster.interrupt_api_server(seconds=10)
    cluster.copy_ca_crt_like_reference(age=0, name="one")
    cluster.teardown()


def test_reconnected_replica_is_unready_while_the_secret_is_destroyed() -> None:
    """Found by the state machine: it serves the CA that the others are about to remove."""
    cluster = Cluster()
    cluster.begin(settled=False)
    cluster.reconcile_all(seconds=300)
    cluster.reconcile_all_except(which=0, seconds=150)
    cluster.reconcile_all(seconds=260)
    cluster.reconcile_all_except(which=0, seconds=150)
    cluster.damage_secret(what="all")
    cluster.teardown()


def test_temporarily_missing_leaf_does_not_end_a_disconnection() -> None:
    """The others may not have observed the gap, and may still be about to remove the served CA."""
    cluster = Cluster()
    cluster.begin(settled=False)
    cluster.reconcile_all(seconds=247)
    cluster.reconcile_all_except(
        which=0, seconds=113
    )  # until one second before the removal of the old CA
    cluster.damage_secret(what="leaf")
    cluster.read_configurations(which=0)
    cluster.read_secret(which=0)
    served = cluster.replicas[0].status.served
    assert served is not None
    assert served.ca in cluster.secret.value.old
    assert "was disconnected too long" in cluster.replicas[0].status.not_ready_reason(
        cluster.time, cluster.time
    )
    cluster.reconcile(which=2)
    cluster.time += 1
    cluster.reconcile(which=0)
    cluster.teardown()


def test_replica_with_slow_clock_is_unready_before_old_ca_is_removed() -> None:
    """Its clock is so slow that it keeps serving the old leaf. Fails if it stays ready with the old leaf."""
    cluster = Cluster()
    cluster.begin(settled=True)
    cluster.reconcile_all(seconds=150)
    cluster.set_clock(which=0, offset=SLOW)
    cluster.reconcile_all(seconds=1200)
    assert cluster.replicas[0].ready_at > NOW + 150, "it is ready as long as its CA is trusted"
    cluster.teardown()


def test_replica_stays_unready_until_it_serves_the_newer_leaf() -> None:
    """Found by the state machine: it became ready when its clock reached the new leaf."""
    cluster = Cluster()
    cluster.begin(settled=True)
    cluster.reconcile_all(seconds=150)
    cluster.set_clock(which=0, offset=SLOW)
    status = cluster.replicas[0].status
    while "a newer CA signs" not in status.not_ready_reason(cluster.time + SLOW, cluster.time):
        cluster.reconcile_all(seconds=5)
    leaf = cluster.secret.value.leaf
    assert leaf is not None
    cluster.reconcile_all(seconds=int(leaf.not_before - SLOW - cluster.time) - 15)
    cluster.reconcile_all_except(
        which=0, seconds=20
    )  # the others remove the served CA, and the slow clock reaches the new leaf
    assert status.served is not None
    assert status.served.ca not in cluster.secret.value.cas
    reasons = status.not_ready_reason(cluster.time + SLOW, cluster.time)
    assert "a newer CA signs" in reasons
    cluster.teardown()


def test_first_leaf_is_signed_although_configurations_keep_changing() -> None:
    """The writer changes no bundle; its changes count only until all have observed the CA."""
    cluster = Cluster()
    for second in range(60):
        cluster.time += 1
        if second % 8 == 0:
            for configuration in cluster.configurations.values():
                configuration.put(cluster.time, configuration.value, configuration.version)
        if second % 5 == 0:
            for which in range(REPLICAS):
                cluster.reconcile(which)
    assert cluster.secret.value.leaf is not None


def test_reconnected_replica_is_ready_again_although_secret_stays_missing() -> None:
    """Once all replicas have observed the empty Secret, none can remove the served CA."""
    cluster = Cluster()
    cluster.begin(settled=True)
    missing = StoredCertificates(faults=("the Secret is missing",))
    cluster.secret.put(cluster.time, missing, cluster.secret.version)

    def reconcile(seconds: int) -> list[str]:
        for _ in range(seconds):
            cluster.time += 1
            for which in range(REPLICAS):
                cluster.read_configurations(which)
                cluster.read_secret(which)
        reasons = [
            each.status.not_ready_reason(cluster.time, cluster.time) for each in cluster.replicas
        ]
        return reasons

    assert reconcile(1) == [""] * REPLICAS
    cluster.interrupt_api_server(seconds=int(POLICY.stale_seconds) + 5)
    assert all("was disconnected too long" in each for each in reconcile(1))
    assert reconcile(int(POLICY.stale_seconds)) == [""] * REPLICAS
    cluster.teardown()


@pytest.mark.parametrize(("what", "rights"), [("key", "secret"), ("all", "configurations")])
def test_served_ca_is_not_removed_before_another_leaf_exists(what: str, rights: str) -> None:
    """Fails if time before the first leaf counts: its signer would remove a CA that others serve."""
    cluster = Cluster()
    cluster.begin(settled=True)
    cluster.damage_secret(what=what)
    for second in range(int(POLICY.overlap_seconds) + 80):
        cluster.time += 1
        withdrawn = rights if second < POLICY.overlap_seconds + 20 else ""
        looking = [which for which in range(REPLICAS) if which == 0 or (second + which) % 5 == 0]
        for which in looking * 4:
            cluster.read_configurations(which)
            cluster.read_secret(which)
            if withdrawn != "secret":
                cluster.write_secret(which)
            for name in NAMES if withdrawn != "configurations" else ():
                cluster.write_configuration(which, name)
        cluster.every_call_is_trusted()
    cluster.teardown()


def build_desired_bundle(certificates: StoredCertificates, bundle: Bundle) -> Bundle | None:
    """Return the same bundle as `secret_codec.build_desired_bundle`, without PEM."""
    foreign = [each for each in bundle if not each.is_own]
    desired = {each.id: each for each in (*certificates.cas, *foreign)}
    if desired.keys() == {each.id for each in bundle}:
        return None
    return tuple(replace(each, key=b"") for each in desired.values())


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
