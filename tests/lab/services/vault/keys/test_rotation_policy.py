"""Rotation policies of keys."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isodate import parse_duration as parse_iso  # type: ignore[import-untyped]

from podpass.lab.services.vault.errors import BadParameter
from podpass.lab.services.vault.keys import rotation_policy as rotation
from tests.suite_policy import examples

DAY = 24 * 3600


def action(kind: str, **trigger: Any) -> dict[str, Any]:
    return {"trigger": trigger, "action": {"type": kind}}


def policy(*actions: Any, expiry: str | None = None) -> dict[str, Any]:
    return {"lifetimeActions": list(actions), "attributes": {"expiryTime": expiry}}


def seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


NOTICE = action("Notify", timeBeforeExpiry="P30D")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, {"lifetimeActions": [NOTICE], "attributes": {}}),
        (
            {"lifetimeActions": None, "attributes": None},
            {"lifetimeActions": [NOTICE], "attributes": {}},
        ),
        (
            policy(action("Rotate", timeAfterCreate="P2M", timeBeforeExpiry=None)),
            {
                "lifetimeActions": [action("Rotate", timeAfterCreate="P2M"), NOTICE],
                "attributes": {},
            },
        ),
        (
            policy(
                action("notify", timeBeforeExpiry="P7D"),
                action("rotate", timeBeforeExpiry="P1M"),
                expiry="P90D",
            ),
            {
                "lifetimeActions": [
                    action("Notify", timeBeforeExpiry="P7D"),
                    action("Rotate", timeBeforeExpiry="P1M"),
                ],
                "attributes": {"expiryTime": "P90D"},
            },
        ),
    ],
)
def test_policy_is_parsed_and_shown_as_azure_shows_it(given: Any, shown: Any) -> None:
    assert rotation.to_json(rotation.parse(given)) == shown


@pytest.mark.parametrize("expiry", [None, "P28D", "P30D", "P90D"])
def test_shown_policy_is_accepted_again(expiry: str | None) -> None:
    """`az keyvault key rotation-policy update` sends what `show` returned, with a change."""
    shown = rotation.to_json(
        rotation.parse(policy(action("Rotate", timeAfterCreate="P10D"), expiry=expiry))
    )
    assert NOTICE in shown["lifetimeActions"]
    assert rotation.to_json(rotation.parse(shown)) == shown


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (policy(action("Renew", timeAfterCreate="P30D")), "Rotate or Notify"),
        (policy(action("Rotate")), "either"),
        (policy(action("Rotate", timeAfterCreate="P30D", timeBeforeExpiry="P30D")), "either"),
        (policy(action("Rotate", timeAfterCreate="P6D")), "at least 7 days"),
        (policy(action("Rotate", timeAfterCreate="PT48H")), "at least 7 days"),
        (policy(action("Rotate", timeBeforeExpiry="P30D")), "needs 'attributes.expiryTime'"),
        (policy(action("Rotate", timeAfterCreate="P84D"), expiry="P90D"), "before the end"),
        (policy(action("Rotate", timeBeforeExpiry="P90D"), expiry="P90D"), "before the end"),
        (policy(action("Notify", timeAfterCreate="P30D")), "trigger of Notify"),
        (policy(NOTICE, NOTICE), "twice"),
        (policy(NOTICE, NOTICE, NOTICE), "at most one"),
        (policy(expiry="P27D"), "at least 28 days"),
        (policy(expiry="P101Y"), "at most 100 years"),
        (policy(expiry="90"), "duration"),
        (policy("x"), "'lifetimeActions' must be an object"),
        ({"lifetimeActions": {}}, "list"),
        ({"attributes": []}, "'attributes' must be an object"),
        (policy({"trigger": 5, "action": {"type": "Rotate"}}), "'trigger'"),
        (policy({"trigger": {"timeAfterCreate": "P30D"}, "action": 5}), "'action'"),
    ],
)
def test_other_policy_is_refused(given: Any, message: str) -> None:
    with pytest.raises(BadParameter, match=message):
        rotation.parse(given)


@pytest.mark.parametrize(
    "text",
    ["", "P", "PT", "P1", "1D", "P-1D", "P1.5D", "p1d", "P1D1M", "P\u0661D", "P999999D", None, 5],
)
def test_text_that_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(BadParameter, match="'x' must be"):
        rotation.parse_duration(text, "x")


@settings(max_examples=examples(100))
@given(
    years=st.integers(0, 40),
    months=st.integers(0, 30),
    days=st.integers(1, 3000),
    start=st.integers(1_500_000_000, 3_000_000_000),
)
def test_duration_ends_when_another_library_ends_it(
    years: int, months: int, days: int, start: int
) -> None:
    text = f"P{years}Y{months}M{days}D"
    expected = datetime.fromtimestamp(start, UTC) + parse_iso(text)
    assert rotation.parse_duration(text, "x").after(start) == int(expected.timestamp())


@pytest.mark.parametrize(
    ("text", "after", "before"),
    [
        ("P1M", "2027-02-28T12:00:00", "2026-12-31T12:00:00"),
        ("P1Y10D", "2028-02-10T12:00:00", "2026-01-21T12:00:00"),
        ("PT48H30M5S", "2027-02-02T12:30:05", "2027-01-29T11:29:55"),
        ("P2W", "2027-02-14T12:00:00", "2027-01-17T12:00:00"),
    ],
)
def test_duration_is_added_and_subtracted_by_the_calendar(
    text: str, after: str, before: str
) -> None:
    start = seconds("2027-01-31T12:00:00")
    duration = rotation.parse_duration(text, "x")
    assert duration.after(start) == seconds(after)
    assert duration.before(start) == seconds(before)


def test_last_possible_expiry_is_in_range() -> None:
    end = rotation.parse_duration("P100Y", "x").after(253402300799)
    assert end < 253402300799


@pytest.mark.parametrize(
    ("given", "expires", "expected"),
    [
        (policy(), None, {}),
        (policy(), 100 * DAY, {"Notify": 70 * DAY}),
        (policy(action("Rotate", timeAfterCreate="P10D")), None, {"Rotate": 10 * DAY}),
        (policy(action("Rotate", timeBeforeExpiry="P10D"), expiry="P90D"), None, {}),
        (
            policy(action("Rotate", timeBeforeExpiry="P10D"), expiry="P90D"),
            90 * DAY,
            {"Rotate": 80 * DAY, "Notify": 60 * DAY},
        ),
    ],
)
def test_actions_are_due_after_creation_or_before_expiry(
    given: Any, expires: int | None, expected: dict[str, int]
) -> None:
    assert rotation.parse(given).times(0, expires) == expected


def test_stored_policy_is_read_back() -> None:
    given = policy(
        action("Rotate", timeAfterCreate="P2M"),
        action("Notify", timeBeforeExpiry="P8D"),
        expiry="P1Y",
    )
    stored = rotation.KeyRotationPolicy(
        actions=rotation.parse(given).actions,
        expiry=rotation.parse(given).expiry,
        created=5,
        updated=6,
    )
    assert rotation.from_json(rotation.to_json(stored)) == stored
    assert rotation.to_json(stored)["attributes"] == {
        "expiryTime": "P1Y",
        "created": 5,
        "updated": 6,
    }
