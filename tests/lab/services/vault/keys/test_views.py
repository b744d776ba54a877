"""The keys in stored values."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from podpass.crypto.secret import Secret
from podpass.lab.services.vault.keys import views
from tests import saved_work


def test_key_is_loaded_once_for_each_stored_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if the cache compares values by identity: each signature would parse the key again."""
    # In tests, the loader of `cryptography` returns the same key for the same text.
    monkeypatch.setattr(serialization, "load_pem_private_key", saved_work.PARSE_EACH_TIME)
    text = views.stored_value(ec.generate_private_key(ec.SECP256R1())).reveal()
    other = views.stored_value(ec.generate_private_key(ec.SECP256R1()))
    assert views.load(Secret(text)) is views.load(Secret(text))
    assert views.load(other) is not views.load(Secret(text))
