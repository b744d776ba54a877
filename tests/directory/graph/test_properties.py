"""Property parsers: any value is accepted with a valid shape or rejected by name."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpass.directory.graph import application_properties, principal_properties, properties
from podpass.directory.graph.errors import InvalidRequest

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
_WRITABLE = {**principal_properties.WRITABLE, **application_properties.WRITABLE}


@given(st.dictionaries(st.sampled_from(sorted(_WRITABLE)), _JSON, max_size=3))
def test_any_value_is_parsed_or_rejected(given: dict[str, Any]) -> None:
    try:
        found = properties.parse_properties(given, _WRITABLE, frozenset())
    except InvalidRequest as exc:
        assert exc.wire_code == "Request_BadRequest"
        return
    # Accepted values are stored as JSON, so they must be serializable.
    assert set(orjson.loads(orjson.dumps(found))) == set(given)


def test_every_default_property_is_known() -> None:
    for module in (application_properties, principal_properties):
        known = set(module.WRITABLE) | set(module.READ_ONLY)
        separate = {
            "addIns",
            "keyCredentials",
            "passwordCredentials",
            "requestSignatureVerification",
        }
        assert set(module.DEFAULTS) <= known | separate


@pytest.mark.parametrize(("value", "kept"), [("true", True), ("false", False), (True, True)])
def test_boolean_is_accepted_as_text(value: object, kept: bool) -> None:
    assert properties.boolean("isEnabled", value) is kept


@pytest.mark.parametrize("value", ["yes", 1, None, "True"])
def test_invalid_boolean_is_rejected(value: object) -> None:
    with pytest.raises(InvalidRequest):
        properties.boolean("isEnabled", value)


def test_objects_are_merged_and_lists_replaced() -> None:
    old = {"web": {"a": 1, "b": [1]}, "c": 2, "d": None}
    new = {"web": {"b": [2]}, "d": {"e": 1}}
    assert properties.merge(old, new) == {"web": {"a": 1, "b": [2]}, "c": 2, "d": {"e": 1}}
    assert old["web"] == {"a": 1, "b": [1]}
