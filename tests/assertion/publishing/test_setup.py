"""A new key folder has an issuer, or no key."""

import errno
from pathlib import Path

import pytest

from podpass.assertion.publishing import setup
from podpass.assertion.publishing.config import IssuerConfig
from podpass.assertion.publishing.key_folder import KeyFolder
from podpass.assertion.publishing.model import IssuerError


def test_keygen_that_fails_leaves_no_private_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = IssuerConfig(issuer="https://oidc.example/", target="command:true")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(KeyFolder, "write_state", fail)
    with pytest.raises(IssuerError, match="No space"):
        setup.create(tmp_path / "keys", config, imported=None, bits=2048, now=1.0)
    assert list((tmp_path / "keys").rglob("*.pem")) == []
