"""The secret header values of App Service's protocol."""

import pytest

from podpass.crypto.secret import Secret
from podpass.errors import SettingsError
from podpass.imds.identity_headers import IdentityHeaders, parse_headers

WEB, BATCH = "0123456789abcdef", "fedcba9876543210"


def test_header_value_selects_only_its_own_identity() -> None:
    headers = IdentityHeaders({"web": Secret(WEB), "batch": Secret(BATCH)})
    assert headers.find(WEB) == "web"
    assert headers.find(BATCH) == "batch"
    for wrong in ("", WEB[:-1], f"{WEB}0", WEB.upper(), "ü" * 16):
        assert headers.find(wrong) is None
    assert IdentityHeaders({}).find("") is None


@pytest.mark.parametrize("text", [f"web={WEB};batch={BATCH}", f"\nweb={WEB}\n\n batch={BATCH} \n"])
def test_entries_are_separated_by_semicolons_or_lines(text: str) -> None:
    found = parse_headers(text, "X")
    assert {name: value.reveal() for name, value in found.items()} == {"web": WEB, "batch": BATCH}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("web=short", "X, entry 1: want NAME=VALUE"),
        ("web", "X, entry 1: want NAME=VALUE"),
        (f"={WEB}", "X, entry 1: want NAME=VALUE"),
        (f"web={WEB} x", "X, entry 1: want NAME=VALUE"),
        (f"web={WEB};web={BATCH}", "X, entry 2: the identity web has a value already"),
        (f"web={WEB};batch={WEB}", "X, entry 2: another identity has the same value"),
    ],
)
def test_wrong_entry_is_reported_without_its_value(text: str, problem: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_headers(text, "X")
    assert problem in refused.value.message
    assert WEB not in refused.value.message
    assert "short" not in refused.value.message


def test_values_are_never_printed() -> None:
    found = parse_headers(f"web={WEB}", "X")
    assert WEB not in repr(found)
