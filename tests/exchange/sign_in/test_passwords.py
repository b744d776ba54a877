"""Hashing and comparison of passwords."""

import hmac

import pytest

from podpass.exchange.sign_in import passwords


def test_password_matches_its_hash() -> None:
    kept = passwords.hash_password("correct")
    assert passwords.check_password("correct", kept)
    assert not passwords.check_password("wrong", kept)
    assert not passwords.check_password("", passwords.hash_password(""))


def test_too_long_password_is_not_hashed() -> None:
    """Attack: every attempt would hash megabytes."""
    longest = "x" * passwords.MAX_CHARS
    assert passwords.check_password(longest, passwords.hash_password(longest))
    assert not passwords.check_password(longest + "x", passwords.hash_password(longest + "x"))


def test_password_hashes_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison must not use `==`, which stops at the first difference."""
    stored = passwords.hash_password("correct")
    compared: list[int] = []
    compare_digest = hmac.compare_digest

    def counting(first: bytes, second: bytes) -> bool:
        compared.append(len(first))
        return compare_digest(first, second)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    assert passwords.check_password("correct", stored)
    assert not passwords.check_password("wrong", stored)
    assert compared == [32, 32]
