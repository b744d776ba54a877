"""A line of a log as a hop: its result, code and cause. Other lines are no hops."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpass.diagnose.trace.hop import Hop, HopResult, parse_hop


def line(**values: Any) -> bytes:
    record = {
        "time": "2026-01-02T03:04:05.000Z",
        "level": "info",
        "logger": "podpass.x",
        "event": "token_request_answered",
        "hop": True,
        "stage": "exchange",
        "asked": "token",
        "checked": ["wire"],
        "took_ms": 1.5,
        **values,
    }
    return json.dumps(record, separators=(",", ":")).encode()


def hop(**values: Any) -> Hop:
    found = parse_hop(line(**values))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        ("granted", HopResult.PASSED),
        ("mutated", HopResult.PASSED),
        ("projected", HopResult.PASSED),
        ("AADSTS700213", HopResult.REFUSED),
        ("forbidden", HopResult.REFUSED),
        ("internal_error", HopResult.REFUSED),
        ("skipped", HopResult.SKIPPED),
        ("challenge", HopResult.CHALLENGE),
    ],
)
def test_result_of_a_hop_follows_its_outcome(outcome: str, result: HopResult) -> None:
    assert hop(outcome=outcome).result is result


def test_refusal_has_code_and_cause() -> None:
    found = hop(outcome="refused", code="bad_annotation", reason="'9' is out of range")
    assert (found.code, found.cause) == ("bad_annotation", "'9' is out of range")
    assert hop(outcome="AADSTS700213", cause="no record").to_json()["code"] == "AADSTS700213"


def test_json_has_no_fingerprint_of_a_token() -> None:
    document = hop(token_sha256="abc123", uti="unique", client_id="web").to_json()
    assert document["facts"] == {"client_id": "web"}
    assert "abc123" not in json.dumps(document)


def test_line_of_a_container_log_is_parsed() -> None:
    found = parse_hop(b"2026-01-02T03:04:05.000000006Z stdout F " + line(stage="imds"))
    assert found is not None
    assert found.stage == "imds"


@pytest.mark.parametrize(
    "text", [b"", b'{"hop":true', b'["hop",{"hop":true}]', b'{"a":"\\"hop\\":true"}', b'"hop":true']
)
def test_log_line_that_is_not_a_hop_is_ignored(text: bytes) -> None:
    assert parse_hop(text) is None


@given(st.binary(max_size=200))
def test_any_line_is_read(data: bytes) -> None:
    parse_hop(data)
    parse_hop(b'{"hop":true,' + data + b"}")
