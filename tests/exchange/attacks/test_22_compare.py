"""Group 22: the time of a comparison discloses nothing about the compared values."""

import hashlib
import hmac
from typing import Any

import pytest

from podpass.directory.model import Identity, PasswordCredential
from podpass.exchange.client_auth import client_secret
from podpass.exchange.errors.catalogue import AadstsError

SECRETS = ["first", "second", "third"]


def identity() -> Identity:
    made = tuple(
        PasswordCredential(
            key_id=text,
            display_name=text,
            hint=text[:3],
            digest=hashlib.sha256(text.encode()).digest(),
            begins=0,
            expires=2e9,
        )
        for text in SECRETS
    )
    return Identity(
        tenant_id="t", client_id="c", object_id="o", name="app", credentials=(), passwords=made
    )


@pytest.mark.parametrize("sent", [*SECRETS, "", "none", "firs", "x" * 1000])
def test_every_secret_is_compared_in_constant_time(
    monkeypatch: pytest.MonkeyPatch, sent: str
) -> None:
    """The search must not stop at the matching secret, and must not use `==`, which stops early."""
    compared: list[int] = []
    real = hmac.compare_digest

    def counting(a: Any, b: Any) -> bool:
        compared.append(len(a))
        return real(a, b)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    if sent in SECRETS:
        assert client_secret.check_secret(sent, identity(), 1.0) == sent
    else:
        with pytest.raises(AadstsError):
            client_secret.check_secret(sent, identity(), 1.0)
    assert compared == [32, 32, 32]
