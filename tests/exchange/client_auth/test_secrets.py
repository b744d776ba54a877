"""Applications that authenticate with a secret or with their own certificate."""

import base64
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from podpass import names
from podpass.crypto import jose
from podpass.directory.model import KeyCredential, PasswordCredential
from tests.exchange.world import Answer, World
from tests.rsa_keys import KEY, OTHER_KEY

SECRET = "s3cr~et+with/odd%signs"


def create_certificate(key: Any, name: str = "app") -> bytes:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    begins = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.DER)


DER = create_certificate(KEY)


def create_password(text: str, **changes: Any) -> PasswordCredential:
    digest = hashlib.sha256(text.encode()).digest()
    made = PasswordCredential(
        key_id="88888888-8888-4888-8888-888888888888",
        display_name="one",
        hint=text[:3],
        digest=digest,
        begins=0,
        expires=2e9,
    )
    return replace(made, **changes)


def to_key_credential(der: bytes, **changes: Any) -> KeyCredential:
    made = KeyCredential(
        key_id="99999999-9999-4999-8999-999999999999",
        display_name="one",
        certificate=der,
        thumbprint=jose.b64encode(hashlib.sha1(der).digest()),
        begins=0,
        expires=2e9,
    )
    return replace(made, **changes)


async def add_credentials(world: World, **changes: Any) -> None:
    other = create_password("another", key_id="88888888-8888-4888-8888-888888888887")
    secrets = (other, create_password(SECRET))
    await world.change(
        world.APPLICATION, **{"passwords": secrets, "keys": (to_key_credential(DER),), **changes}
    )


async def request_with_secret(world: World, secret: str = SECRET, **changes: str | None) -> Answer:
    fields = {"client_id": world.APPLICATION, "client_secret": secret, "client_assertion": None}
    return await world.request_token(None, **{**fields, "client_assertion_type": None, **changes})


def sign_assertion(
    world: World,
    *,
    key: Any = KEY,
    der: bytes = DER,
    header: dict[str, Any] | None = None,
    alg: str = "RS256",
    **changes: Any,
) -> str:
    """Sign a self-issued assertion of the application."""
    claims = {
        "iss": world.APPLICATION,
        "sub": world.APPLICATION,
        "aud": f"https://login.microsoftonline.com/{world.TENANT}/oauth2/v2.0/token",
        "nbf": int(world.now),
        "iat": int(world.now),
        "exp": int(world.now) + 600,
        "jti": "j",
        **changes,
    }
    present = {name: value for name, value in claims.items() if value is not None}
    head = {"alg": alg, **(header or {"x5t": jose.b64encode(hashlib.sha1(der).digest())})}
    text = ".".join(jose.b64encode(json.dumps(part).encode()) for part in (head, present))
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    scheme = pss if alg == "PS256" else padding.PKCS1v15()
    return f"{text}.{jose.b64encode(key.sign(text.encode(), scheme, hashes.SHA256()))}"


async def request_with_assertion(world: World, assertion: str, **changes: str) -> Answer:
    fields = {"client_id": world.APPLICATION, "client_assertion": assertion, **changes}
    return await world.request_token(None, **fields)


# ------------------------------------------------------------------------------------------ secrets


async def test_token_for_a_secret_has_its_acr(world: World) -> None:
    await add_credentials(world)
    answer = await request_with_secret(world)
    assert answer.status == 200
    claims = answer.claims()
    assert (claims["appidacr"], claims["idtyp"]) == ("1", "app")
    v2 = await request_with_secret(world, scope=f"api://{world.APPLICATION}/.default")
    assert v2.claims()["azpacr"] == "1"


async def test_token_for_a_secret_has_the_normal_lifetime(world: World) -> None:
    """One setting applies to all tokens of applications, for every authentication method."""
    await add_credentials(world)
    assert (await request_with_secret(world)).body["expires_in"] == 86_399


async def test_secret_in_http_basic_is_accepted(world: World) -> None:
    await add_credentials(world)
    pair = f"{world.APPLICATION}:{quote_plus(SECRET)}".encode()
    body = "grant_type=client_credentials&scope=https%3A%2F%2Fvault.azure.net%2F.default"
    head = {"Authorization": "Basic " + base64.b64encode(pair).decode()}
    assert (await world.send(body=body, headers=head)).status == 200


@pytest.mark.parametrize("text", ["wrong", SECRET + " ", SECRET[:-1], SECRET.upper(), "\0"])
async def test_wrong_secret_is_refused(world: World, text: str) -> None:
    await add_credentials(world)
    answer = await request_with_secret(world, text)
    assert (answer.code, answer.status, answer.body["error"]) == (7000215, 401, "invalid_client")
    assert text.strip() not in answer.body["error_description"] or len(text) < 2


@pytest.mark.parametrize("changes", [{"expires": 1_750_000_000}, {"begins": 1_750_000_001}])
async def test_secret_outside_its_validity_is_refused(
    world: World, changes: dict[str, float]
) -> None:
    await add_credentials(world, passwords=(create_password(SECRET, **changes),))
    assert (await request_with_secret(world)).code == 7000222


async def test_secret_of_a_managed_identity_is_refused(world: World) -> None:
    await add_credentials(world)
    assert (await request_with_secret(world, client_id=world.CLIENT)).code == 7000215


async def test_secret_of_another_tenants_application_is_refused(world: World) -> None:
    await add_credentials(world)
    path = f"/{world.OTHER_TENANT}/oauth2/v2.0/token"
    answer = await world.post(
        path,
        grant_type="client_credentials",
        client_id=world.APPLICATION,
        client_secret=SECRET,
        scope="https://vault.azure.net/.default",
    )
    assert answer.code == 700016


async def test_secrets_are_not_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    await add_credentials(world)
    with caplog.at_level("DEBUG"):
        await request_with_secret(world)
        await request_with_secret(world, "wr0ng~secret")
    output = "".join(str(vars(record)) for record in caplog.records)
    assert SECRET not in output
    assert "wr0ng~secret" not in output


# -------------------------------------------------------------------------------------- certificates


@pytest.mark.parametrize("alg", ["RS256", "PS256"])
@pytest.mark.parametrize("named", ["x5t", "x5t#S256", "padded", "standard", "kid", "kid-hex"])
async def test_certificate_may_be_named_in_every_entra_format(
    world: World, alg: str, named: str
) -> None:
    await add_credentials(world)
    sha1, sha256 = hashlib.sha1(DER).digest(), hashlib.sha256(DER).digest()
    header = {
        "x5t": {"x5t": jose.b64encode(sha1)},
        "x5t#S256": {"x5t#S256": jose.b64encode(sha256)},
        "padded": {"x5t": jose.b64encode(sha1) + "="},
        "standard": {"x5t#S256": base64.b64encode(sha256).decode()},
        "kid": {"kid": jose.b64encode(sha1)},
        "kid-hex": {"kid": sha1.hex().upper()},
    }[named]
    answer = await request_with_assertion(world, sign_assertion(world, header=header, alg=alg))
    assert answer.status == 200, answer.body
    assert answer.claims()["appidacr"] == "2"


async def test_assertion_of_pyjwt_is_accepted(world: World) -> None:
    await add_credentials(world)
    claims = {
        "iss": world.APPLICATION,
        "sub": world.APPLICATION,
        "aud": f"https://login.microsoftonline.com/{world.TENANT}/v2.0",
        "exp": int(world.now) + 60,
        "iat": int(world.now),
    }
    header = {"x5t#S256": jose.b64encode(hashlib.sha256(DER).digest())}
    text = jwt.encode(claims, KEY, algorithm="PS256", headers=header)
    assert (await request_with_assertion(world, text)).status == 200


@pytest.mark.parametrize(
    "audience",
    [
        "https://login.microsoftonline.com/{0}/oauth2/v2.0/token",
        "https://login.microsoftonline.com/{0}/oauth2/token",
        "https://login.microsoftonline.com/{0}/v2.0",
        "https://login.microsoftonline.com/contoso.test/v2.0",
        "https://login.windows.net/{0}/oauth2/v2.0/token",
        "https://sts.windows.net/{0}/",
        "{1}/{0}/oauth2/v2.0/token",
    ],
)
async def test_assertion_for_another_audience_is_refused(world: World, audience: str) -> None:
    await add_credentials(world)
    text = sign_assertion(world, aud=audience.format(world.TENANT, world.url))
    assert (await request_with_assertion(world, text)).status == 200


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        (700021, {"iss": "33333333-3333-4333-8333-333333333333"}),
        (700021, {"sub": "someone"}),
        (700023, {"aud": "https://login.microsoftonline.com/common/v2.0"}),
        (700023, {"aud": "https://evil.test/11111111-1111-4111-8111-111111111111/v2.0"}),
        (700023, {"aud": "api://AzureADTokenExchange"}),
        (
            700023,
            {
                "aud": [
                    "https://login.microsoftonline.com/11111111-1111-4111-8111-111111111111/v2.0",
                    "https://other.test/",
                ]
            },
        ),
        (700027, {"key": OTHER_KEY}),
        (700027, {"header": {"x5t": jose.b64encode(bytes(20))}}),
        (700027, {"header": {"kid": "no-thumbprint"}}),
        (700024, {"exp": 1_749_999_999}),
        (700024, {"nbf": 1_750_001_000}),
        (5002723, {"header": {"typ": "JWT"}}),
        (90014, {"exp": None}),
    ],
)
async def test_assertion_with_one_wrong_part_is_refused(
    world: World, number: int, changes: dict[str, Any]
) -> None:
    await add_credentials(world)
    assert (await request_with_assertion(world, sign_assertion(world, **changes))).code == number


def pad(text: str) -> str:
    return text + "=" * (-len(text) % 4)


def build_padded_assertion(world: World, header_spaces: int, claims_spaces: int) -> str:
    """Sign an assertion of the application whose parts are padded, as azure-identity does."""
    parts = sign_assertion(world).split(".")[:2]
    spaces = (header_spaces, claims_spaces)
    made = [jose.b64decode(part) + b" " * count for part, count in zip(parts, spaces, strict=True)]
    text = ".".join(pad(jose.b64encode(each)) for each in made)
    signature = KEY.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{pad(jose.b64encode(signature))}"


@pytest.mark.parametrize("header_spaces", range(3))
@pytest.mark.parametrize("claims_spaces", range(3))
async def test_padded_assertion_of_an_application_is_accepted(
    world: World, header_spaces: int, claims_spaces: int
) -> None:
    await add_credentials(world)
    text = build_padded_assertion(world, header_spaces, claims_spaces)
    assert (await request_with_assertion(world, text)).status == 200


@pytest.mark.parametrize("header_spaces", range(3))
@pytest.mark.parametrize("part", range(3))
async def test_wrong_padding_of_an_assertion_is_refused(
    world: World, header_spaces: int, part: int
) -> None:
    """The signature is not signed itself, so only the parser refuses its other encodings."""
    await add_credentials(world)
    parts = build_padded_assertion(world, header_spaces, header_spaces).split(".")
    bare = parts[part].rstrip("=")
    wrong = {bare + "=" * count for count in range(6)} - {parts[part]}
    wrong |= {f"={bare}", f"{bare[:8]}={bare[8:]}", f"{bare[:8]}===={bare[8:]}"}
    wrong |= {parts[part].replace("=", "%3D"), parts[part] + "."} - {parts[part]}
    for each in wrong:
        text = ".".join([*parts[:part], each, *parts[part + 1 :]])
        answer = await request_with_assertion(world, text)
        assert (answer.status, answer.code) == (400, 50027), each


async def test_padded_signature_of_an_unpadded_assertion_is_refused(world: World) -> None:
    await add_credentials(world)
    header = {"x5t": to_key_credential(DER).thumbprint, "pad": "xx"}
    head, body, tail = sign_assertion(world, header=header).split(".")
    assert len(head) % 4
    answer = await request_with_assertion(world, f"{head}.{body}.{pad(tail)}")
    assert (answer.status, answer.code) == (400, 50027)


async def test_padded_token_of_an_issuer_is_refused(world: World) -> None:
    header, claims = (jose.b64decode(part) for part in world.mint().split(".")[:2])
    text = ".".join(pad(jose.b64encode(part)) for part in (header, claims))
    signature = world.ring.active.key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    padded = f"{text}.{pad(jose.b64encode(signature))}"
    answer = await world.present(padded)
    assert (answer.status, answer.code) == (400, 50027)


async def test_certificate_inside_the_token_is_ignored(world: World) -> None:
    """The header has the attacker's certificate, with the thumbprint of the registered one."""
    await add_credentials(world)
    mine = create_certificate(OTHER_KEY)
    header = {
        "x5t": to_key_credential(DER).thumbprint,
        "x5c": [base64.b64encode(mine).decode()],
        "jwk": jose.rsa_jwk(OTHER_KEY.public_key(), "k"),
    }
    assert (
        await request_with_assertion(world, sign_assertion(world, key=OTHER_KEY, header=header))
    ).code == 700027


@pytest.mark.parametrize("changes", [{"expires": 1_750_000_000}, {"begins": 1_750_000_001}])
async def test_expired_or_future_certificate_is_refused(
    world: World, changes: dict[str, float]
) -> None:
    await add_credentials(world, keys=(to_key_credential(DER, **changes),))
    assert (await request_with_assertion(world, sign_assertion(world))).code == 1000502


async def test_certificate_key_of_other_type_or_size_is_refused(world: World) -> None:
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    for key in (small, ec.generate_private_key(ec.SECP256R1())):
        der = create_certificate(key)
        await add_credentials(world, keys=(to_key_credential(der),))
        signer = small if key is small else KEY
        assert (
            await request_with_assertion(world, sign_assertion(world, key=signer, der=der))
        ).code == 700027


async def test_assertion_may_be_sent_again_until_it_expires(world: World) -> None:
    await add_credentials(world)
    text = sign_assertion(world)
    assert [(await request_with_assertion(world, text)).status for _ in range(2)] == [200, 200]


async def test_assertion_with_a_url_as_issuer_is_checked_as_federated(world: World) -> None:
    await add_credentials(world)
    assert (await world.request_token(None, client_id=world.APPLICATION)).claims()[
        "appidacr"
    ] == "2"
    with_url = sign_assertion(world, iss=world.ISSUER)
    assert (await request_with_assertion(world, with_url)).code == 700212


async def test_log_has_only_the_checks_that_ran(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await add_credentials(world)
    with caplog.at_level("INFO"):
        await request_with_secret(world)
        await request_with_assertion(world, sign_assertion(world))
    checked = [list(vars(each)["checked"]) for each in caplog.records if "checked" in vars(each)]
    assert checked == [
        ["wire", "tenant", "request", "client", "credential", "resource"],
        [
            *("wire", "tenant", "request", "client", "credential", "assertion", "trust", "key"),
            *("signature", "time", "resource"),
        ],
    ]
    assert names.JWT_BEARER
