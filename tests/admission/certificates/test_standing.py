"""Why API servers do not trust what is served, in one sentence."""

from dataclasses import replace

import pytest

from podpass.admission.certificates.ca_bundles import Registered
from podpass.admission.certificates.model import Held, Served
from podpass.admission.certificates.status import API, CLOCK, READING, Standing
from tests.admission.certificates.world import NOW, PLAN, Numbered

TICKS = 1000.0
MAKER = Numbered()
A, B = MAKER.authority(), MAKER.authority()
LEAF = MAKER.leaf(A)


@pytest.fixture
def standing() -> Standing:
    made = Standing(PLAN)
    made.served = Served(leaf=LEAF, authority=A)
    made.held = Held(current=A, leaf=LEAF)
    made.registered = {"one": Registered(name="one", object={}, bundles=((A,), (B, A)))}
    made.heard = made.read_secret = TICKS
    return made


def test_what_every_bundle_carries_is_trusted(standing: Standing) -> None:
    assert standing.trouble(NOW, TICKS) == ""
    assert standing.trouble(NOW, TICKS + PLAN.stale_seconds - 0.1) == ""


def test_one_entry_without_our_authority_is_enough(standing: Standing) -> None:
    standing.registered["one"] = Registered(name="one", object={}, bundles=((A,), (B,)))
    said = standing.trouble(NOW, TICKS)
    assert said == "the caBundle of MutatingWebhookConfiguration one lacks our authority"
    standing.say("one", "it may not be written")
    assert standing.trouble(NOW, TICKS).endswith("lacks our authority: it may not be written")


def test_a_certificate_is_trusted_from_its_first_second_and_not_in_its_last(
    standing: Standing,
) -> None:
    assert standing.trouble(LEAF.not_before, TICKS) == ""
    assert "is not valid before" in standing.trouble(LEAF.not_before - 1, TICKS)
    assert standing.trouble(LEAF.not_after - 1, TICKS) == ""
    assert "expired at" in standing.trouble(LEAF.not_after, TICKS)
    standing.say(CLOCK, "this machine's clock stands a year ahead")
    assert "stands a year ahead" in standing.trouble(LEAF.not_after, TICKS)


def test_after_a_silence_nobody_knows_and_the_cause_is_said(standing: Standing) -> None:
    standing.say(API, "no answer from the server")
    said = standing.trouble(NOW, TICKS + PLAN.stale_seconds)
    assert "unknown since 25 s" in said
    assert "no answer from the server" in said


def test_blind_for_the_secret_there_is_trouble_only_when_another_authority_joins(
    standing: Standing,
) -> None:
    """A slip in the rights must not end the service of every replica."""
    standing.read_secret = TICKS - PLAN.stale_seconds
    standing.say(READING, "it is forbidden to get secrets")
    standing.held = Held(current=A, old=(B,))
    assert standing.trouble(NOW, TICKS) == ""
    joined = replace(B, id="joined")
    standing.registered["one"] = Registered(name="one", object={}, bundles=((A, joined),))
    said = standing.trouble(NOW, TICKS)
    assert "another authority has joined" in said
    assert "it is forbidden to get secrets" in said


def test_blind_for_the_secret_in_the_midst_of_a_rotation_there_is_trouble(
    standing: Standing,
) -> None:
    """The others go on, and drop what is served here."""
    standing.read_secret = TICKS - PLAN.stale_seconds
    standing.held = Held(current=A, leaf=LEAF, coming=B)
    standing.registered["one"] = Registered(name="one", object={}, bundles=((A, B),))
    assert "another authority" in standing.trouble(NOW, TICKS)
    standing.held = Held(current=B, old=(A,))
    assert "another authority" in standing.trouble(NOW, TICKS)
    standing.held = Held(current=replace(B, id="third"), old=(B, A))
    assert "another authority" in standing.trouble(NOW, TICKS), "B's leaf was never taken here"
    standing.say(API, "no answer from the server")
    assert standing.trouble(NOW, TICKS).endswith("cannot follow: no answer from the server")
    standing.held = Held(current=A, leaf=LEAF, old=(B,))
    assert standing.trouble(NOW, TICKS) == ""
    standing.held = Held(faults=("emptied",))
    standing.registered["one"] = Registered(name="one", object={}, bundles=((A,),))
    assert standing.trouble(NOW, TICKS) == ""


def test_a_clock_that_is_behind_a_rotation_is_trouble(standing: Standing) -> None:
    """What the others go to is not valid here yet, so this replica stays with what they drop."""
    standing.held = Held(current=B, leaf=MAKER.leaf(B), old=(A,))
    assert standing.trouble(NOW, TICKS) == ""
    standing.held = Held(current=B, leaf=replace(MAKER.leaf(B), not_before=NOW + 1), old=(A,))
    assert "is not valid here: this machine's clock says" in standing.trouble(NOW, TICKS)
    standing.say(CLOCK, "this machine's clock stands 10800 s behind the API server's")
    assert "stands 10800 s behind" in standing.trouble(NOW, TICKS)


def test_what_was_never_read_is_said() -> None:
    assert "was not read so far" in Standing(PLAN).trouble(NOW, TICKS)


def test_a_problem_is_logged_when_it_comes_and_when_it_goes(
    standing: Standing, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "podpass")
    for problem in ("forbidden", "forbidden", "", ""):
        standing.say("one", problem)
        assert standing.is_hindered is bool(problem)
    assert [record.message for record in caplog.records] == [
        "certificates_hindered",
        "certificates_unhindered",
    ]
