"""The answers of the signer, read as an API server reads them."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from podpass.assertion.publishing.key_folder import KeyFolder
from podpass.assertion.publishing.model import IssuerError
from podpass.crypto import jose
from podpass.servers.signer import messages
from podpass.servers.signer.keys import FolderKeySource
from podpass.servers.signer.service import BadClaims, SignerService
from tests.assertion.publishing import issuer as issuers
from tests.assertion.publishing.issuer import WAITS, Issuer

# Bytes that no serializer would write: the signer must not parse and write them again.
CLAIMS = b'{ "sub":"a",\n  "n" : 1.50}'


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    issuer = issuers.create(tmp_path / "issuer")
    issuer.rotate(start=False)
    return issuer


@pytest.fixture
def source(issuer: Issuer) -> FolderKeySource:
    return FolderKeySource(issuer.folder, issuer.clock)


def _sign(source: FolderKeySource, claims: bytes = CLAIMS) -> str:
    text = jose.b64encode(claims)
    answer = SignerService(source).sign(messages.SignJWTRequest(claims=text))
    return f"{answer.header}.{text}.{answer.signature}"


def test_claims_are_signed_byte_for_byte_and_the_header_has_three_members(
    source: FolderKeySource, issuer: Issuer
) -> None:
    token = _sign(source)
    header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    assert header == {"alg": "RS256", "kid": issuer.state.active.kid, "typ": "JWT"}
    answer = SignerService(source).fetch_keys(None)
    (key,) = answer.keys
    public = load_der_public_key(key.key)
    assert isinstance(public, rsa.RSAPublicKey)
    assert key.key_id == jose.public_key_id(public) == issuer.state.active.kid
    assert not key.exclude_from_oidc_discovery
    assert jwt.api_jws.decode(token, public, algorithms=["RS256"]) == CLAIMS


@pytest.mark.parametrize(
    "claims",
    [
        "",
        "a.b",
        "e30=",
        "e31",
        jose.b64encode(b"[]"),
        jose.b64encode(b'{"a":1,"a":2}'),
        jose.b64encode(b'{"a":"' + b"x" * 16 * 1024 + b'"}'),
    ],
    ids=["empty", "dot", "padding", "not canonical", "array", "duplicate", "large"],
)
def test_text_that_is_not_the_claims_of_a_token_is_not_signed(
    source: FolderKeySource, claims: str
) -> None:
    with pytest.raises(BadClaims):
        SignerService(source).sign(messages.SignJWTRequest(claims=claims))


def test_fetched_keys_have_the_current_time_and_the_refresh_hint(
    source: FolderKeySource, issuer: Issuer
) -> None:
    answer = SignerService(source).fetch_keys(None)
    assert answer.data_timestamp.seconds == issuer.clock.now
    assert answer.refresh_hint_seconds == WAITS.refresh_seconds


def test_maximum_token_lifetime_equals_the_configured_rotation_wait(
    source: FolderKeySource,
) -> None:
    answer = SignerService(source).metadata(None)
    assert answer.max_token_expiration_seconds == WAITS.token_seconds


def test_rotation_is_used_without_a_restart(source: FolderKeySource, issuer: Issuer) -> None:
    old = jwt.get_unverified_header(_sign(source))["kid"]
    wait = issuer.rotate()
    assert wait is not None
    listed = [key.key_id for key in SignerService(source).fetch_keys(None).keys]
    assert len(listed) == 2
    assert jwt.get_unverified_header(_sign(source))["kid"] == old
    issuer.clock.now = wait.until
    issuer.rotate()
    assert jwt.get_unverified_header(_sign(source))["kid"] == issuer.state.active.kid != old
    issuer.rotate_to_end()
    assert [key.key_id for key in SignerService(source).fetch_keys(None).keys] == [
        issuer.state.active.kid
    ]


def test_key_that_is_not_published_is_not_listed(source: FolderKeySource, issuer: Issuer) -> None:
    key = issuer.folder.create_key(2048, issuer.clock.now)
    state = issuer.state
    issuer.folder.write_state(replace(state, keys=(*state.keys, key)))
    listed = [each.key_id for each in SignerService(source).fetch_keys(None).keys]
    assert listed == [state.active.kid]


def test_damaged_folder_keeps_the_last_keys_and_is_read_again_with_backoff(
    source: FolderKeySource, issuer: Issuer
) -> None:
    _sign(source)
    good = issuer.folder.state_path.read_bytes()
    issuer.folder.state_path.write_bytes(b"{")
    for _ in range(5):
        _sign(source)
    assert source.failures == 1
    assert source.error is not None
    assert "restore the folder" in source.error.hint
    issuer.clock.now += 1
    _sign(source)
    issuer.clock.now += 1
    _sign(source)
    assert source.failures == 2
    issuer.folder.state_path.write_bytes(good)
    issuer.clock.now += 30
    _sign(source)
    assert source.error is None


def test_folder_without_keys_is_an_error_until_they_are_created(tmp_path: Path) -> None:
    clock = issuers.Clock()
    source = FolderKeySource(KeyFolder(tmp_path / "issuer"), clock)
    with pytest.raises(IssuerError, match="there is no issuer"):
        source.current()
    issuers.create(tmp_path / "issuer")
    clock.now += 1
    assert source.current().active.kid


def test_private_key_of_another_kid_is_refused(source: FolderKeySource, issuer: Issuer) -> None:
    kid = issuer.state.active.kid
    issuer.folder.key_path(kid).write_bytes(jose.private_key_pem(jose.generate_rsa()))
    with pytest.raises(IssuerError, match="contains another key"):
        source.current()


def test_no_message_contains_the_private_key(source: FolderKeySource, issuer: Issuer) -> None:
    path = issuer.folder.key_path(issuer.state.active.kid)
    path.write_text("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
    with pytest.raises(IssuerError) as got:
        source.current()
    assert "c2VjcmV0" not in f"{got.value.message}{got.value.hint}{got.value.facts}"
    assert path.name in got.value.message
