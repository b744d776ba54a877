"""Hashing and comparison of passwords."""

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
