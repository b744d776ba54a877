"""Each hop has its pod: by fingerprint, by uti, by subject, by the uid of the sidecar's log."""

from typing import Any

import pytest

from podpass.diagnose.trace import assignment
from podpass.diagnose.trace.assignment import AssignedHop, HopAssigner, TokenOwner
from tests.diagnose.trace.test_hop import hop

WEB = {"namespace": "team", "pod": "web-1", "account": "web", "uid": "u1"}
POD = TokenOwner(namespace="team", pod="web-1", account="web", uid="u1")
SIGNED = {"stage": "assertion", "outcome": "signed", "audience": "x", "token_sha256": "f1", **WEB}


def assign(*hops: dict[str, Any]) -> list[AssignedHop]:
    return [*HopAssigner().assign_all(hop(**each) for each in hops)]


def test_exchange_and_resource_belong_to_the_pod_of_the_assertion() -> None:
    found = assign(
        SIGNED,
        {
            "outcome": "granted",
            "token_sha256": "f1",
            "uti": "t1",
            "sub": "system:serviceaccount:a:b",
        },
        {"stage": "resource", "outcome": "forbidden", "uti": "t1"},
        {"stage": "directory", "outcome": "ok", "uti": "t1"},
    )
    assert [each.workload for each in found] == [POD] * 4


def test_exchange_without_a_known_assertion_belongs_to_its_account() -> None:
    (found,) = assign({"outcome": "AADSTS700213", "sub": "system:serviceaccount:team:web"})
    assert found.workload == TokenOwner(namespace="team", account="web", is_unissued=True)


@pytest.mark.parametrize("sub", ["", "repo:x/y", "system:serviceaccount:team", "system:node:n"])
def test_other_subject_belongs_to_no_pod(sub: str) -> None:
    (found,) = assign({"outcome": "granted", "sub": sub})
    assert found.workload == TokenOwner()


def test_refused_exchange_does_not_name_the_token_of_another_pod() -> None:
    """A refused request may claim any value; only a granted one has issued the token."""
    found = assign(
        SIGNED,
        {"outcome": "AADSTS700213", "token_sha256": "f1", "uti": "t9"},
        {"stage": "resource", "outcome": "ok", "uti": "t9"},
    )
    assert found[2].workload == TokenOwner()


def test_sidecar_belongs_to_the_pod_with_the_uid_of_its_log() -> None:
    found = assign(SIGNED, {"stage": "imds", "outcome": "failed", "uid": "u1"})
    assert found[1].workload == POD
    assert assign({"stage": "imds", "uid": "u2"})[0].workload == TokenOwner(uid="u2")


def test_admission_hop_with_a_name_prefix_matches_pods_of_that_prefix() -> None:
    (found,) = assign({"stage": "admission", **WEB, "uid": "", "pod": "web- (prefix)"})
    assert found.workload.is_pod("web-1")
    assert not found.workload.is_pod("api-1")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"outcome": "projected", "event": "token_projected"}),
        (
            {"outcome": "refused", "event": "token_request_refused"},
            {"outcome": "refused", "event": "token_projection_refused"},
        ),
    ],
)
def test_kubelet_does_not_repeat_the_hop_of_the_api_server(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    assert len(assign({**SIGNED, **first}, {**SIGNED, **second})) == 1
    # A real API server logs no token.
    assert len(assign({**SIGNED, **second})) == 1


def test_number_of_remembered_assertions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assignment, "_REMEMBERED", 10)
    assigner = HopAssigner()
    for number in range(100):
        assigner.assign(hop(**{**SIGNED, "token_sha256": f"f{number}"}))
    assert len(assigner._assertions._values) == 10
