"""Versions of all registries are compared by their release numbers."""

import pytest

from podpass.migration.scan.versions import is_at_least, version_key


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.12.0", "1.13.0"),
        ("1.9.0", "1.10.0"),
        ("1.13.0b2", "1.13.0"),
        ("1.9.0-beta.1", "1.9.0"),
        ("1.3.0-rc1", "v1.3.0"),
        ("2", "2.0.1"),
        ("1.13.0.dev20230101", "1.13"),
    ],
)
def test_older_version_is_below_newer(older: str, newer: str) -> None:
    assert is_at_least(newer, older) is True
    assert is_at_least(older, newer) is False


@pytest.mark.parametrize(
    "version", ["1.13", "1.13.0", "v1.13.0", "1.13.0.post1", "1.13.0+local", "1.13.0.Final"]
)
def test_release_with_another_spelling_is_equal(version: str) -> None:
    assert is_at_least(version, "1.13.0") is True
    assert is_at_least("1.13.0", version) is True


@pytest.mark.parametrize("version", ["", "latest", "*", "${x}", "1" * 30, "9" * 5000, "٣.1"])
def test_text_that_is_no_version_is_unknown(version: str) -> None:
    assert version_key(version) is None
    assert is_at_least(version, "1.0") is None
