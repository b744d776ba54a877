"""The keys in stored values."""

from cryptography.hazmat.primitives.asymmetric import ec

from podpass.crypto.secret import Secret
from podpass.lab.services.vault.keys import views


def test_key_is_loaded_once_for_each_stored_text() -> None:
    """Fails if the cache compares values by identity: each signature would parse the key again."""
    text = views.stored_value(ec.generate_private_key(ec.SECP256R1())).reveal()
    other = views.stored_value(ec.generate_private_key(ec.SECP256R1()))
    assert views.load(Secret(text)) is views.load(Secret(text))
    assert views.load(other) is not views.load(Secret(text))
