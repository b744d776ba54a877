"""Any sequence of replicas' steps, crashes, lost contact, wrong clocks and faults: no call fails.

A call fails when a replica that Kubernetes still sends calls to serves a leaf whose authority is missing in
a bundle that some API server may still go by.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from podpass.admission.certificates import planner
from podpass.admission.certificates.ca_bundles import Registered
from podpass.admission.certificates.model import (
    Authority,
    Drop,
    Held,
    Keep,
    Served,
    Sight,
    Step,
)
from podpass.admission.certificates.status import CLOCK, Standing
from tests.admission.certificates.world import BACKDATE, NOW, PLAN, Numbered

NAMES = ("one", "two")
REPLICAS = 3
ENDPOINT_SECONDS = 20  # until no call reaches a replica any more that is not ready
SLOW, FAR = -160.0, 1e6  # so slow that what is new is not valid yet, and what was there still is
STRANGER = Authority(id="stranger", certificate=b"", not_before=0, not_after=math.inf, ours=False)

Bundle = tuple[Authority, ...]
T = TypeVar("T")


class Versioned(Generic[T]):
    """A value that is written by whoever read its latest version, with all that it was."""

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
        """List every value that it had after a moment."""
        ends = [at for at, _ in self.past[1:]] + [math.inf]
        return [value for (_, value), end in zip(self.past, ends, strict=True) if end > moment]


@dataclass
class Replica:
    """One process: what it remembers, and how far it got in its look."""

    standing: Standing = field(default_factory=lambda: Standing(PLAN))
    began: float = 0
    read: dict[str, tuple[int, Bundle]] | None = None
    step: tuple[int, Held, Step] | None = None
    bundles: dict[str, tuple[int, Bundle]] = field(default_factory=dict)
    ready_at: float = -math.inf

    def idle(self) -> None:
        self.read, self.step, self.bundles = None, None, {}


class Cluster(RuleBasedStateMachine):
    """Replicas at one API server, whose views of the bundles may be as old as the plan allows."""

    def __init__(self) -> None:
        super().__init__()
        self.time = NOW
        self.maker = Numbered()
        self.secret = Versioned(Held())
        self.configurations = {name: Versioned[Bundle](()) for name in NAMES}
        self.replicas = [Replica() for _ in range(REPLICAS)]
        self.offsets = [0.0] * REPLICAS

    which = st.integers(0, REPLICAS - 1)

    @initialize(settled=st.booleans())
    def begin(self, settled: bool) -> None:
        if settled:
            self.run(100)

    # ------------------------------------------------------------------------------- a look, in pieces

    @rule(which=which)
    def read_configurations(self, which: int) -> None:
        replica = self.replicas[which]
        replica.idle()
        replica.began = replica.standing.heard = self.time
        replica.read = {name: (c.version, c.value) for name, c in self.configurations.items()}
        replica.standing.registered = {
            name: Registered(name=name, object={}, bundles=(bundle,))
            for name, (_, bundle) in replica.read.items()
        }

    @rule(which=which)
    def read_secret(self, which: int) -> None:
        replica, standing = self.replicas[which], self.replicas[which].standing
        if replica.read is None:
            return
        held = self.secret.value
        bundles = [bundle for _, bundle in replica.read.values()]
        sight = Sight(
            held=held,
            bundles=[frozenset(each.id for each in bundle) for bundle in bundles],
            found=[each for bundle in bundles for each in bundle if each.ours],
            version=tuple(str(version) for version, _ in replica.read.values()),
        )
        standing.read_secret = replica.began
        now = self.time + self.offsets[which]
        standing.judge(held, now)
        standing.seen = planner.noted(
            standing.seen, sight, standing.served, ticks=self.time, plan=PLAN
        )
        if planner.takes(
            sight, standing.seen, standing.served, now=now, ticks=self.time, plan=PLAN
        ):
            assert held.leaf is not None
            assert held.current is not None
            standing.take(Served(leaf=held.leaf, authority=replace(held.current, key=b"")))
        step = planner.decide(
            sight, standing.seen, standing.served, now=now, ticks=self.time, plan=PLAN
        )
        if step is not None:
            replica.step = (self.secret.version, held, step)
        elif held.current is not None:
            replica.bundles = {
                name: (version, mended)
                for name, (version, bundle) in replica.read.items()
                if (mended := in_step(held, bundle)) is not None
            }
        replica.read = None

    @rule(which=which)
    def write_secret(self, which: int) -> None:
        replica = self.replicas[which]
        if replica.step is None:
            replica.standing.say(CLOCK)
            return
        (version, held, step), replica.step = replica.step, None
        if not isinstance(step, Drop | Keep):
            if abs(self.offsets[which]) > BACKDATE / 2:
                replica.standing.say(CLOCK, "the API server's own time says that it is wrong")
                return
            replica.standing.say(CLOCK)
        self.maker.now = self.time + self.offsets[which]
        self.secret.put(self.time, planner.changed(held, step, self.maker), version)

    @rule(which=which, name=st.sampled_from(NAMES))
    def write_configuration(self, which: int, name: str) -> None:
        if (wanted := self.replicas[which].bundles.pop(name, None)) is not None:
            version, bundle = wanted
            self.configurations[name].put(self.time, bundle, version)

    @rule(which=which)
    def look_whole(self, which: int) -> None:
        for _ in range(4):
            self.read_configurations(which)
            self.read_secret(which)
            self.write_secret(which)
            for name in NAMES:
                self.write_configuration(which, name)

    # -------------------------------------------------------------------------------------- what happens

    @rule(seconds=st.integers(1, 40))
    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.time += 1
            self.note_ready()

    @rule(seconds=st.sampled_from([20, 100, 260]))
    def live(self, seconds: int) -> None:
        """Let every replica look as often as it does in peace."""
        self.run(seconds)

    @rule(which=which, seconds=st.sampled_from([60, 150, 300]))
    def live_without(self, which: int, seconds: int) -> None:
        """Let one of them not look at all, while the others go on."""
        self.run(seconds, but=which)

    @rule(which=which, seconds=st.sampled_from([60, 150, 300]))
    def live_blind(self, which: int, seconds: int) -> None:
        """Let one of them read the configurations, and get an error instead of the Secret."""
        for _ in range(0, seconds, 5):
            self.run(5, but=which)
            self.read_configurations(which)
            self.lose_contact(which)

    @rule(seconds=st.sampled_from([10, 40, 90, 150]))
    def outage(self, seconds: int) -> None:
        """Let the API server be away: nobody can look, or hears of who is not ready."""
        self.note_ready()
        called = [replica for replica in self.replicas if replica.ready_at == self.time]
        self.time += seconds
        for replica in self.replicas:
            replica.idle()
            replica.standing.seen = planner.out_of_touch(replica.standing.seen)
        for replica in called:
            replica.ready_at = self.time

    @rule(which=which)
    def crash(self, which: int) -> None:
        self.replicas[which] = Replica()

    @rule(which=which)
    def restart(self, which: int) -> None:
        self.replicas[which] = Replica()
        self.look_whole(which)

    @rule(which=which)
    def lose_contact(self, which: int) -> None:
        replica = self.replicas[which]
        replica.idle()
        replica.standing.seen = planner.out_of_touch(replica.standing.seen)

    @rule(which=which, offset=st.sampled_from([0.0, 5.0, -5.0, -60.0, SLOW, FAR, -FAR]))
    def set_clock(self, which: int, offset: float) -> None:
        self.offsets[which] = offset

    @rule(what=st.sampled_from(["all", "key", "leaf", "coming"]))
    def break_secret(self, what: str) -> None:
        held = self.secret.value
        broken = {
            "all": Held(faults=("nothing can be read",)),
            "key": Held(old=held.authorities, faults=("ca.key does not fit",)),
            "leaf": replace(held, leaf=None, faults=("tls.crt cannot be read",)),
            "coming": replace(
                held, coming=None, old=(*([held.coming] if held.coming else []), *held.old)
            ),
        }[what]
        self.secret.put(self.time, broken, self.secret.version)

    @precondition(lambda self: self.secret.value.current is not None)
    @rule(name=st.sampled_from(NAMES), age=st.integers(0, int(PLAN.lag_seconds) - 1))
    def reference_reconciles(self, name: str, age: int) -> None:
        """A reference's replica beside ours replaces the bundle by `ca.crt`, as old as it has heard of."""
        held = self.secret.since(self.time - age)[0]
        if held.current is not None:
            configuration = self.configurations[name]
            configuration.put(self.time, held.authorities, configuration.version)

    @rule(name=st.sampled_from(NAMES))
    def stranger_joins(self, name: str) -> None:
        configuration = self.configurations[name]
        bundle = configuration.value
        if STRANGER not in bundle:
            configuration.put(self.time, (STRANGER, *bundle), configuration.version)

    # ------------------------------------------------------------------------------------ what must hold

    @invariant()
    def every_call_is_trusted(self) -> None:
        self.note_ready()
        for replica in self.replicas:
            served = replica.standing.served
            if served is None or replica.ready_at < self.time - ENDPOINT_SECONDS:
                continue
            for name, configuration in self.configurations.items():
                for bundle in configuration.since(self.time - PLAN.lag_seconds):
                    ids = {each.id for each in bundle}
                    assert served.authority.id in ids, f"{name} lacks what is served"

    @invariant()
    def the_reference_could_go_on(self) -> None:
        held = self.secret.value
        if held.leaf is not None:
            assert held.current is not None
            assert held.leaf.authority == held.current.id
            assert held.current.key

    def teardown(self) -> None:
        """Left alone with right clocks, all of them come to rest at one authority."""
        self.offsets = [0.0] * REPLICAS
        self.run(400)
        for _ in range(40):  # ages pass until a moment at which nothing is being rotated
            held = self.secret.value
            if held.current and not held.coming and not held.old:
                break
            self.run(20)
        assert held.current is not None
        assert [each.id for each in held.authorities] == [held.current.id]
        for replica in self.replicas:
            assert replica.standing.served is not None
            assert replica.standing.served.leaf == held.leaf
            assert replica.standing.trouble(self.time, self.time) == ""
        for configuration in self.configurations.values():
            bundle = configuration.value
            assert {each.id for each in bundle} - {"stranger"} == {held.current.id}

    # ------------------------------------------------------------------------------------------- helpers

    def run(self, seconds: int, but: int = -1) -> None:
        for second in range(seconds):
            self.time += 1
            if second % 5 == 0:
                for which in range(REPLICAS):
                    if which != but:
                        self.look_whole(which)
            self.every_call_is_trusted()

    def note_ready(self) -> None:
        for which, replica in enumerate(self.replicas):
            now = self.time + self.offsets[which]
            if not replica.standing.trouble(now, self.time):
                replica.ready_at = self.time


def test_a_bundle_set_back_between_two_looks_delays_the_first_leaf_of_an_authority_made_anew() -> (
    None
):
    """Found by the machine above: a reference's replica had not heard of the new authority yet."""
    cluster = Cluster()
    cluster.begin(settled=True)
    cluster.break_secret(what="all")
    cluster.look_whole(which=0)
    cluster.reference_reconciles(age=1, name="one")
    cluster.outage(seconds=10)
    cluster.reference_reconciles(age=0, name="one")
    cluster.teardown()


def test_who_comes_back_to_a_destroyed_secret_is_not_called_before_it_has_another_leaf() -> None:
    """Found by the machine above: it serves what the others are about to drop."""
    cluster = Cluster()
    cluster.begin(settled=False)
    cluster.live(seconds=300)
    cluster.live_without(which=0, seconds=150)
    cluster.live(seconds=260)
    cluster.live_without(which=0, seconds=150)
    cluster.break_secret(what="all")
    cluster.teardown()


def test_a_leaf_that_is_away_for_a_moment_does_not_end_a_silence() -> None:
    """The others need not have noticed that it was away, and count on to the end of what is served here."""
    cluster = Cluster()
    cluster.begin(settled=False)
    cluster.live(seconds=247)
    cluster.live_without(
        which=0, seconds=113
    )  # a join, a turn, and a second short of the old one's end
    cluster.break_secret(what="leaf")
    cluster.read_configurations(which=0)
    cluster.read_secret(which=0)
    served = cluster.replicas[0].standing.served
    assert served is not None
    assert served.authority in cluster.secret.value.old
    assert "after a silence" in cluster.replicas[0].standing.trouble(cluster.time, cluster.time)
    cluster.look_whole(which=2)
    cluster.time += 1
    cluster.look_whole(which=0)
    cluster.teardown()


def test_who_takes_the_new_leaf_for_one_of_the_future_is_not_called_when_the_old_authority_leaves() -> (
    None
):
    """Its clock is so slow that it goes on with the old one's leaf. Fails if it stays ready with that."""
    cluster = Cluster()
    cluster.begin(settled=True)
    cluster.live(seconds=150)
    cluster.set_clock(which=0, offset=SLOW)
    cluster.live(seconds=1200)
    assert cluster.replicas[0].ready_at > NOW + 150, "it is called as long as it is trusted"
    cluster.teardown()


def test_that_the_new_leafs_time_has_come_is_not_enough_to_be_called_with_the_old_one() -> None:
    """Found by the machine above: not looking, it was ready as soon as its slow clock let the new leaf be."""
    cluster = Cluster()
    cluster.begin(settled=True)
    cluster.live(seconds=150)
    cluster.set_clock(which=0, offset=SLOW)
    standing = cluster.replicas[0].standing
    while "another authority signs" not in standing.trouble(cluster.time + SLOW, cluster.time):
        cluster.live(seconds=5)
    leaf = cluster.secret.value.leaf
    assert leaf is not None
    cluster.live(seconds=int(leaf.not_before - SLOW - cluster.time) - 15)
    cluster.live_without(
        which=0, seconds=20
    )  # the others drop what it serves, and its clock gets there
    assert standing.served is not None
    assert standing.served.authority not in cluster.secret.value.authorities
    said = standing.trouble(cluster.time + SLOW, cluster.time)
    assert "another authority signs by now" in said
    cluster.teardown()


def test_a_first_leaf_comes_though_somebody_keeps_changing_the_configurations() -> None:
    """What he changes is none of our bundles; only while others may not have heard of us does it count."""
    cluster = Cluster()
    for second in range(60):
        cluster.time += 1
        if second % 8 == 0:
            for configuration in cluster.configurations.values():
                configuration.put(cluster.time, configuration.value, configuration.version)
        if second % 5 == 0:
            for which in range(REPLICAS):
                cluster.look_whole(which)
    assert cluster.secret.value.leaf is not None


def test_who_could_not_look_is_called_again_though_nobody_may_mend_the_secret() -> None:
    """Nobody can be giving up what is served, once all must have seen that the Secret is empty."""
    cluster = Cluster()
    cluster.begin(settled=True)
    gone = Held(faults=("the Secret is missing",))
    cluster.secret.put(cluster.time, gone, cluster.secret.version)

    def look(seconds: int) -> list[str]:
        for _ in range(seconds):
            cluster.time += 1
            for which in range(REPLICAS):
                cluster.read_configurations(which)
                cluster.read_secret(which)
        said = [each.standing.trouble(cluster.time, cluster.time) for each in cluster.replicas]
        return said

    assert look(1) == [""] * REPLICAS
    cluster.outage(seconds=int(PLAN.stale_seconds) + 5)
    assert all("after a silence" in each for each in look(1))
    assert look(int(PLAN.stale_seconds)) == [""] * REPLICAS
    cluster.teardown()


@pytest.mark.parametrize(("what", "rights"), [("key", "secret"), ("all", "configurations")])
def test_what_is_served_is_not_out_of_use_while_there_is_no_leaf_to_go_to(
    what: str, rights: str
) -> None:
    """Who signs the first leaf drops nothing that others serve. Fails if the time before it counts."""
    cluster = Cluster()
    cluster.begin(settled=True)
    cluster.break_secret(what=what)
    for second in range(int(PLAN.linger_seconds) + 80):
        cluster.time += 1
        withdrawn = rights if second < PLAN.linger_seconds + 20 else ""
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


def in_step(held: Held, bundle: Bundle) -> Bundle | None:
    """Do as `contents.wanted` does, without PEM."""
    strangers = [each for each in bundle if not each.ours]
    want = {each.id: each for each in (*held.authorities, *strangers)}
    if want.keys() == {each.id for each in bundle}:
        return None
    return tuple(replace(each, key=b"") for each in want.values())


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
