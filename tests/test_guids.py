"""Recognition of GUIDs in upper and lower case."""

import re

import pytest

from podpass.guids import PATTERN, is_guid, is_lower_guid

LOWER = "6f0c9d1e-2b3a-4c5d-8e7f-0a1b2c3d4e5f"
OTHERS = [
    *(LOWER[:-1], LOWER + "0", " " + LOWER, LOWER + "\n", LOWER.replace("-", ""), "-".join(LOWER)),
    *(
        f"{{{LOWER}}}",
        f"urn:uuid:{LOWER}",
        LOWER.replace("6", "g"),
        LOWER.replace("6", "\u0666"),
        "",
    ),
]


@pytest.mark.parametrize("text", [LOWER, LOWER.upper(), LOWER.replace("f", "F")])
def test_guid_is_accepted_in_both_cases(text: str) -> None:
    assert is_guid(text)
    assert is_lower_guid(text) is (text == LOWER)
    assert is_lower_guid(text.lower())


@pytest.mark.parametrize("text", OTHERS)
def test_other_texts_are_not_guids(text: str) -> None:
    assert not is_guid(text)
    assert not is_lower_guid(text)


@pytest.mark.parametrize("value", [None, 7, LOWER.encode(), [LOWER]])
def test_other_types_are_not_guids(value: object) -> None:
    assert not is_guid(value)


def test_guid_is_found_within_text() -> None:
    found = re.search(rf"id ({PATTERN})", f"trace id {LOWER}, and more")
    assert found is not None
    assert found.groups() == (LOWER,)
