"""Passwords: what is compared, and what is not worth comparing."""

from podpass.exchange.sign_in import passwords


def test_a_password_fits_what_was_kept_of_it() -> None:
    kept = passwords.hash_password("correct")
    assert passwords.check_password("correct", kept)
    assert not passwords.check_password("wrong", kept)
    assert not passwords.check_password("", passwords.hash_password(""))


def test_a_password_that_is_too_long_is_not_compared() -> None:
    """Attack: megabytes to be hashed with each guess."""
    longest = "x" * passwords.MAX_CHARS
    assert passwords.check_password(longest, passwords.hash_password(longest))
    assert not passwords.check_password(longest + "x", passwords.hash_password(longest + "x"))
