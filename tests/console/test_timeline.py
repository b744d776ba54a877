"""The timeline of the console: which hops belong together, and what is stored of them."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpass.console.timeline import MAX_EXCHANGES, MAX_REFUSALS, Timeline, account_of, claims, clip
from podpass.diagnose.trace.hop import STAGES, Hop, HopResult
from tests.console.hops import CLIENT, exchange_facts, hop

POD = {"pod": "p", "namespace": "default", "account": "web"}
TOKEN = ".".join(
    base64.urlsafe_b64encode(each).decode().rstrip("=")
    for each in (b'{"alg":"RS256"}', b'{"sub":"someone"}', b"signature")
)


def filled() -> Timeline:
    timeline = Timeline()
    timeline.add(hop("account", "read", **POD))
    timeline.add(hop("admission", "mutated", **POD))
    timeline.add(hop("assertion", "signed", audience="api://AzureADTokenExchange", **POD))
    timeline.add(hop("assertion", "signed", audience="https://kubernetes.default.svc", **POD))
    timeline.add(hop("exchange", "granted", **exchange_facts()))
    timeline.add(hop("resource", "challenge", vault="v"))
    timeline.add(hop("resource", "ok", uti="uti-1", vault="v"))
    return timeline


def test_exchange_has_the_hops_of_its_account_and_the_uses_of_its_token() -> None:
    [found] = filled().newest(10)
    assert [each.stage for each in found.hops] == [
        *("account", "admission", "assertion", "exchange", "resource")
    ]
    assert found.account == ("default", "web")
    assert found.hops[2].fact("audience") == "api://AzureADTokenExchange"


def _sidecar(outcome: str = "acquired", **facts: Any) -> Hop:
    about = {"namespace": "default", "account": "web", "confirmed": True, "correlation_id": "r-1"}
    return hop("imds", outcome, **{**about, **facts})


def test_request_to_the_sidecar_is_part_of_its_exchange() -> None:
    timeline = Timeline()
    timeline.add(hop("exchange", "granted", correlation_id="r-1", **exchange_facts()))
    timeline.add(hop("resource", "ok", uti="uti-1", vault="v"))
    before = timeline.revision
    timeline.add(_sidecar())
    timeline.add(_sidecar("cached"))
    [found] = timeline.newest(10)
    assert [each.stage for each in found.hops] == ["exchange", "imds", "imds", "resource"]
    assert timeline.changed_since(before, 10) == [found]


@pytest.mark.parametrize(
    "facts",
    [{"confirmed": False}, {"correlation_id": "r-2"}, {"account": "other"}, {"outcome": "failed"}],
    ids=["claimed", "other-id", "other-account", "other-result"],
)
def test_other_request_to_a_sidecar_is_not_part_of_the_exchange(facts: dict[str, Any]) -> None:
    timeline = Timeline()
    timeline.add(hop("exchange", "granted", correlation_id="r-1", **exchange_facts()))
    timeline.add(_sidecar(**facts))
    [found] = timeline.newest(10)
    assert [each.stage for each in found.hops] == ["exchange"]


def test_dry_run_is_not_in_the_timeline() -> None:
    timeline = Timeline()
    timeline.add(hop("admission", "mutated", dry_run=True, **POD))
    timeline.add(hop("admission", "refused", dry_run=True, **POD))
    assert timeline.revision == 0
    assert timeline.counts["admission"].passed == timeline.counts["admission"].refused == 0


def test_exchange_of_another_account_has_only_its_own_hops() -> None:
    timeline = filled()
    timeline.add(hop("exchange", "granted", **exchange_facts("other", "uti-2")))
    timeline.add(hop("resource", "ok", uti="uti-3", vault="v"))
    newest = timeline.newest(1)[0]
    assert [each.stage for each in newest.hops] == ["exchange"]


def test_counts_separate_passed_from_refused_and_ignore_challenges() -> None:
    timeline = filled()
    timeline.add(hop("exchange", "AADSTS700213", **exchange_facts("other", "")))
    counts = {stage: (each.passed, each.refused) for stage, each in timeline.counts.items()}
    assert counts == {
        "account": (1, 0),
        "admission": (1, 0),
        "assertion": (2, 0),
        "exchange": (1, 1),
        "imds": (0, 0),
        "resource": (1, 0),
    }
    [refusal] = timeline.refusals
    assert refusal.hop.code == "AADSTS700213"


def test_exchange_of_doctor_is_stored_but_not_counted_or_attributed_to_a_pod() -> None:
    """Fails if doctor's checks look like the pod's own exchanges, or hide that a credential is not used."""
    timeline = filled()
    before = {stage: (each.passed, each.refused) for stage, each in timeline.counts.items()}
    timeline.add(
        hop(
            "assertion",
            "signed",
            audience="api://AzureADTokenExchange",
            token_sha256="d0c",
            pod="",
            namespace="default",
            account="web",
        )
    )
    facts = exchange_facts(token="uti-d", token_sha256="d0c", credential="doctors", by_doctor=True)
    timeline.add(hop("exchange", "granted", **facts))
    timeline.add(hop("exchange", "AADSTS700213", **facts))
    after = {stage: (each.passed, each.refused) for stage, each in timeline.counts.items()}
    assert after == before
    assert timeline.credential_uses == {}
    assert [each.stage for each in timeline.newest(1)[0].hops] == ["assertion", "exchange"]
    assert [each.hop.is_by_doctor for each in timeline.refusals] == [True]
    timeline.add(hop("exchange", "granted", **exchange_facts(token="uti-2", credential="web")))
    own = timeline.newest(1)[0]
    assert own.before[-1].fact("pod") == "p"
    assert [*timeline.credential_uses] == [(CLIENT, "web")]


def test_exchanges_are_found_by_their_pod() -> None:
    timeline = Timeline()
    timeline.add(hop("exchange", "granted", **exchange_facts(token="a", pod="first")))
    timeline.add(hop("exchange", "AADSTS700213", **exchange_facts(token="", pod="second")))
    [found] = timeline.newest(10, pod="default/second")
    assert found.hop.fact("pod") == "second"
    counts = timeline.count_exchanges()
    assert counts["default/first", HopResult.PASSED] == 1
    assert counts["default/second", HopResult.REFUSED] == 1


def test_hop_of_the_issuer_is_kept_when_the_kubelet_reports_the_same_token() -> None:
    timeline = Timeline()
    audience = {"audience": "api://AzureADTokenExchange"}
    timeline.add(hop("assertion", "signed", **audience, **POD))
    timeline.add(hop("assertion", "projected", **audience, **POD))
    timeline.add(hop("exchange", "granted", **exchange_facts()))
    assert timeline.newest(1)[0].before[0].outcome == "signed"


def test_claims_are_those_of_the_log_and_a_refused_exchange_has_no_access_token() -> None:
    timeline = filled()
    timeline.add(hop("exchange", "AADSTS700213", **exchange_facts("other", "")))
    refused, granted = timeline.newest(2)
    assert dict(claims(granted))["access_token"][:2] == [
        ("aud", "https://vault.azure.net"),
        ("appid", CLIENT),
    ]
    assert [kind for kind, _ in claims(refused)] == ["assertion"]


def test_claims_have_roles_and_the_time_when_each_token_expires() -> None:
    timeline = Timeline()
    facts = exchange_facts(exp=1_796_000_000, token_exp=1_796_003_600, roles=["Reader", "Writer"])
    timeline.add(hop("exchange", "granted", **facts))
    found = {kind: dict(pairs) for kind, pairs in claims(timeline.newest(1)[0])}
    assert found["assertion"]["exp"] == "1796000000 (2026-11-30T00:53:20Z)"
    assert found["access_token"]["exp"] == "1796003600 (2026-11-30T01:53:20Z)"
    assert found["access_token"]["roles"] == "Reader, Writer"


@pytest.mark.parametrize("exp", [-1, 253_402_300_800, 1e300, "soon", None])
def test_exp_claim_that_is_not_a_valid_date_is_shown_unchanged(exp: object) -> None:
    timeline = Timeline()
    timeline.add(hop("exchange", "AADSTS700024", **exchange_facts(exp=exp)))
    assert dict(dict(claims(timeline.newest(1)[0]))["assertion"])["exp"] == str(exp)


def test_number_of_stored_exchanges_and_refusals_is_bounded() -> None:
    timeline = Timeline()
    for number in range(2500):
        outcome = "AADSTS700213" if number % 10 == 0 else "granted"
        timeline.add(hop("exchange", outcome, **exchange_facts(f"a{number}", f"t{number}")))
        timeline.add(hop("resource", "ok", uti=f"t{number}"))
    assert len(timeline.newest(10**6)) == MAX_EXCHANGES
    assert len(timeline.refusals) == MAX_REFUSALS
    assert len(timeline._by_token) == MAX_EXCHANGES
    assert len(timeline._before) <= 2000
    assert timeline.counts["exchange"].passed == 2250


def test_number_of_stored_uses_of_a_token_is_bounded() -> None:
    timeline = Timeline()
    timeline.add(hop("exchange", "granted", **exchange_facts()))
    for _ in range(100):
        timeline.add(hop("resource", "ok", uti="uti-1"))
    assert len(timeline.newest(1)[0].resources) == 20


def test_only_exchanges_added_or_changed_after_a_position_are_returned() -> None:
    timeline = filled()
    position, revision = timeline.last_number, timeline.revision
    assert timeline.newest(10, after=position) == []
    assert timeline.changed_since(revision, 10) == []
    timeline.add(hop("resource", "ok", uti="uti-1"))
    timeline.add(hop("exchange", "granted", **exchange_facts("b", "uti-9")))
    assert [each.number for each in timeline.newest(10, after=position)] == [position + 1]
    assert [each.number for each in timeline.changed_since(revision, 10)] == [
        position + 1,
        position,
    ]


@pytest.mark.parametrize(
    "facts",
    [
        {"asked": f"x {TOKEN}"},
        {"cause": f"assertion={TOKEN}&x"},
        {"outcome": TOKEN},
        {"checked": [TOKEN]},
        {"list": [TOKEN]},
        {"map": {"deep": TOKEN}},
        {TOKEN: "name"},
        {"correlation_id": TOKEN},
    ],
    ids=["asked", "cause", "outcome", "checked", "list", "map", "name", "id"],
)
def test_text_that_looks_like_a_token_is_not_stored(facts: dict[str, object]) -> None:
    stored = clip(hop("exchange", **facts))  # type: ignore[arg-type]
    assert TOKEN.split(".")[1] not in repr(stored)
    assert "[token]" in repr(stored)


def test_stored_texts_are_short() -> None:
    facts = {f"f{number}": "x" * 10_000 for number in range(1000)}
    stored = clip(hop("exchange", asked="y" * 100_000, **facts))
    assert len(repr(stored)) < 40 * 600 + 2000


def test_deeply_nested_values_are_truncated() -> None:
    value: object = "end"
    for _ in range(50):
        value = [value]
    assert "end" not in repr(clip(hop("exchange", deep=value)))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*STAGES, "unknown"]),
            st.sampled_from(
                ["ok", "granted", "challenge", "AADSTS50027", "Forbidden", "projected"]
            ),
            st.dictionaries(
                st.sampled_from(["sub", "uti", "namespace", "account", "audience", "aud"]),
                st.one_of(st.none(), st.integers(0, 9), st.text(max_size=8), st.lists(st.text())),
            ),
        ),
        max_size=40,
    )
)
def test_any_hops_are_accepted(hops: list[tuple[str, str, dict[str, object]]]) -> None:
    timeline = Timeline()
    for stage, outcome, facts in hops:
        timeline.add(hop(stage, outcome, **facts))
    for each in timeline.newest(100):
        assert each.hops
        dict(claims(each))
        account_of(each.hop)
