"""How members are read: whatever comes in is kept in its shape, or refused by name."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpass.directory.graph import application_members, members, principal_members
from podpass.directory.graph.refusals import BadRequest

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.text(max_size=20)
    | st.sampled_from(["User", "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "value", "redirectUris", "uri", "index", "isEnabled", "x@y"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)
_WRITABLE = {**principal_members.WRITABLE, **application_members.WRITABLE}


@given(st.dictionaries(st.sampled_from(sorted(_WRITABLE)), _JSON, max_size=3))
def test_whatever_is_given_is_read_or_refused(given: dict[str, Any]) -> None:
    try:
        found = members.read_members(given, _WRITABLE, frozenset())
    except BadRequest as exc:
        assert exc.wire_code == "Request_BadRequest"
        return
    # What is kept can be written again: the store keeps it as JSON.
    assert set(orjson.loads(orjson.dumps(found))) == set(given)


def test_every_member_that_is_shown_is_known() -> None:
    for module in (application_members, principal_members):
        known = set(module.WRITABLE) | set(module.READ_ONLY)
        kept_beside = {
            "addIns",
            "keyCredentials",
            "passwordCredentials",
            "requestSignatureVerification",
        }
        assert set(module.DEFAULTS) <= known | kept_beside


@pytest.mark.parametrize(("value", "kept"), [("true", True), ("false", False), (True, True)])
def test_a_flag_may_be_written_as_text(value: object, kept: bool) -> None:
    assert members.boolean("isEnabled", value) is kept


@pytest.mark.parametrize("value", ["yes", 1, None, "True"])
def test_what_is_no_flag_is_refused(value: object) -> None:
    with pytest.raises(BadRequest):
        members.boolean("isEnabled", value)


def test_objects_are_merged_and_lists_replaced() -> None:
    old = {"web": {"a": 1, "b": [1]}, "c": 2, "d": None}
    new = {"web": {"b": [2]}, "d": {"e": 1}}
    assert members.merged(old, new) == {"web": {"a": 1, "b": [2]}, "c": 2, "d": {"e": 1}}
    assert old["web"] == {"a": 1, "b": [1]}
