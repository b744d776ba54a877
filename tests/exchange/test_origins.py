"""The origin in documents and tokens: a configured origin for every Host header."""

import pytest

from podpass.exchange.origins import Origins

ORIGINS = Origins(("https://login.test", "https://localhost:8443"))


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("login.test", "https://login.test"),
        ("LOGIN.test:443", "https://login.test"),
        ("localhost:8443", "https://localhost:8443"),
        ("localhost", "https://localhost:8443"),
        ("evil.test", "https://login.test"),
        ("login.test.evil.test", "https://login.test"),
        ("login.test@evil.test", "https://login.test"),
        ("login.test:8443", "https://login.test"),
        ("", "https://login.test"),
        (None, "https://login.test"),
    ],
)
def test_unknown_host_is_never_echoed(host: str | None, origin: str) -> None:
    assert ORIGINS.for_host(host) == origin
