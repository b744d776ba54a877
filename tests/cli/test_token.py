"""`podpass token inspect` on each kind of token, valid and invalid."""

import json
import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from podpass.crypto import jose
from podpass.diagnose import tokens
from podpass.directory.resources import EXCHANGE_APP_ID
from tests import rsa_keys
from tests.lab.instance.instances import CLIENT, Podpass

NOW = 1_800_000_000.0
KEY = jose.SigningKey(kid="k1", key=rsa_keys.KEY)
PUBLIC = jose.PublicKey(kid="k1", algs=frozenset({"RS256"}), key=KEY.key.public_key())
EXCHANGE = "api://AzureADTokenExchange"
CLUSTER = "https://eastus.oic.prod-aks.azure.com/t/u/"
ENTRA_V1, ENTRA_V2 = "https://sts.windows.net/t/", "https://login.microsoftonline.com/t/v2.0"
ACCOUNT = {"iss": CLUSTER, "sub": "system:serviceaccount:default:web", "kubernetes.io": {}}


@pytest.mark.parametrize(
    ("claims", "hop", "words"),
    [
        ({**ACCOUNT, "aud": [EXCHANGE]}, "exchange", "client assertion"),
        ({**ACCOUNT, "aud": EXCHANGE}, "exchange", "client assertion"),
        ({**ACCOUNT, "aud": ["https://kubernetes.default.svc"]}, "assertion", "Kubernetes API"),
        ({**ACCOUNT, "aud": [CLUSTER]}, "assertion", "Kubernetes API"),
        ({**ACCOUNT, "aud": ["vault"]}, "assertion", "token for vault"),
        ({"iss": "https://token.example", "aud": EXCHANGE}, "exchange", "another issuer"),
        ({"iss": ENTRA_V1, "aud": "https://vault.azure.net"}, "resource", "Azure Key Vault"),
        ({"iss": ENTRA_V1, "aud": "https://graph.microsoft.com/"}, "resource", "Microsoft Graph"),
        ({"iss": ENTRA_V1, "aud": "https://management.azure.com"}, "resource", "Resource Manager"),
        ({"iss": ENTRA_V1, "aud": "https://storage.azure.com/"}, "resource", "Azure Storage"),
        ({"iss": ENTRA_V2, "aud": CLIENT}, "resource", CLIENT),
        ({"iss": ENTRA_V2, "aud": EXCHANGE_APP_ID}, "exchange", "token of a managed identity"),
        ({"iss": "https://localhost:1/t/v2.0", "aud": CLIENT}, "resource", CLIENT),
        ({"iss": "https://example.com", "aud": "x"}, "unknown", "no hop"),
        ({}, "unknown", "no hop"),
        ({"iss": 5, "aud": {"a": 1}, "sub": None}, "unknown", "no hop"),
    ],
)
def test_token_is_classified_by_its_claims(claims: dict[str, Any], hop: str, words: str) -> None:
    found = tokens.inspect_token(jose.parse(KEY.sign(claims)), NOW)
    assert found.hop == hop
    assert words in found.what


@pytest.mark.parametrize(
    ("expires", "passed", "refused"),
    [
        (NOW + 1, (True, True), False),
        (NOW + 1, (None, None), False),
        (NOW + 1, (True, False), True),
        (NOW + 1, (False, None), True),
        (NOW, (True, True), True),
    ],
)
def test_token_is_refused_if_expired_or_if_a_check_failed(
    expires: float, passed: tuple[bool | None, ...], refused: bool
) -> None:
    found = tokens.inspect_token(jose.parse(KEY.sign({"exp": expires})), NOW)
    results = [tokens.CheckResult(each, "") for each in passed]
    assert tokens.is_refused(found, *results, None) is refused


@pytest.mark.parametrize(
    ("claims", "state", "words"),
    [
        ({"exp": NOW + 1}, "valid", "in 1 s"),
        ({"exp": NOW}, "expired", "0 s ago"),
        ({"exp": NOW - 3661}, "expired", "1 h 1 min ago"),
        ({"exp": NOW + 90000, "nbf": NOW}, "valid", "in 1 d 1 h"),
        ({"exp": NOW + 9, "nbf": NOW + 1}, "not yet valid", "in 1 s"),
        ({}, "without expiry", "it has no exp"),
        ({"exp": "soon"}, "without expiry", "not a time"),
        ({"exp": 1e18}, "without expiry", "not a time"),
        ({"exp": True}, "without expiry", "no service accepts it"),
        ({"exp": 1e300}, "without expiry", "not a time"),
        ({"exp": -1}, "without expiry", "no service accepts it"),
    ],
)
def test_validity_of_an_inspected_token_follows_exp_and_nbf(
    claims: dict[str, Any], state: str, words: str
) -> None:
    found = tokens.check_lifetime(claims, NOW)
    assert found[0] == state
    assert words in found[1]


def test_a_signature_is_checked_against_the_key_it_names() -> None:
    token = jose.parse(KEY.sign({"a": 1}))
    assert tokens.check_signature(token, [PUBLIC]) is None
    other = jose.PublicKey(kid="k2", algs=PUBLIC.algs, key=PUBLIC.key)
    assert "publishes no key k1" in str(tokens.check_signature(token, [other]))
    forged = jose.SigningKey(kid="k1", key=jose.generate_rsa()).sign({"a": 1})
    assert "signed with another key" in str(tokens.check_signature(jose.parse(forged), [PUBLIC]))


def test_token_without_kid_is_reported() -> None:
    head = jose.b64encode(b'{"alg":"RS256"}')
    bare = jose.parse(f"{head}.{jose.b64encode(b'{}')}.{jose.b64encode(b'x')}")
    assert "no kid" in str(tokens.check_signature(bare, [PUBLIC]))


def _inspect(podpass: Podpass, token: str) -> tuple[int, dict[str, Any]]:
    done = podpass("token", "inspect", "-o", "json", input=token)
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


def _issuer_key(podpass: Podpass) -> jose.SigningKey:
    (file,) = (podpass.data_dir / "keys" / "issuer").glob("*.pem")
    key = jose.load_private_pem(file.read_bytes())
    return jose.SigningKey(kid=jose.public_key_id(key.public_key()), key=key)


def _assertion(podpass: Podpass, **changes: Any) -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": podpass.status()["kubernetes"]["issuer"],
        "sub": "system:serviceaccount:default:web",
        "aud": [EXCHANGE],
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        **changes,
    }


def test_signature_of_an_assertion_of_this_instance_is_valid(running: Podpass) -> None:
    code, found = _inspect(running, _issuer_key(running).sign(_assertion(running)))
    assert (code, found["hop"], found["state"]) == (0, "exchange", "valid")
    assert found["signature"] == "valid"
    assert found["claims"]["sub"] == "system:serviceaccount:default:web"


def test_signature_of_a_forged_assertion_is_invalid(running: Podpass) -> None:
    kid = _issuer_key(running).kid
    forged = jose.SigningKey(kid=kid, key=KEY.key).sign(_assertion(running))
    code, found = _inspect(running, forged)
    assert code == 1
    assert found["signature"].startswith("invalid")


@pytest.mark.parametrize(
    ("changes", "state"),
    [({"exp": -60}, "expired"), ({"nbf": 600}, "not yet valid"), ({"exp": None}, "without expiry")],
)
def test_assertion_outside_its_lifetime_fails_although_its_signature_is_valid(
    running: Podpass, changes: dict[str, int | None], state: str
) -> None:
    now = int(time.time())
    times = {name: None if value is None else now + value for name, value in changes.items()}
    token = _issuer_key(running).sign(_assertion(running, **times))
    code, found = _inspect(running, token)
    assert (code, found["state"], found["signature"]) == (1, state, "valid")


@pytest.mark.parametrize("unsigned", [lambda token: token.rpartition(".")[0] + ".", None])
def test_unsigned_token_fails_with_and_without_an_instance(
    running: Podpass, podpass: Podpass, unsigned: Callable[[str], str] | None
) -> None:
    """Fails when a token that every caller can write counts as one that cannot be checked."""
    token = _issuer_key(running).sign(_assertion(running))
    if unsigned is not None:
        token = unsigned(token)
    else:
        header = jose.b64encode(b'{"alg":"none","kid":"x"}')
        token = ".".join([header, *token.split(".")[1:]])
    for instance in (running, podpass):
        code, found = _inspect(instance, token)
        assert code == 1
        assert found["signature"] == "invalid: the token is not signed"


def test_credential_that_trusts_an_assertion_is_named(running: Podpass) -> None:
    code, found = _inspect(running, _issuer_key(running).sign(_assertion(running)))
    assert (code, found["trust"], found["credentials"]) == (0, "credential web of web", [])


def test_assertion_without_trust_fails_and_shows_the_nearest_credential(running: Podpass) -> None:
    subject = "system:serviceaccount:default:Web"
    token = _issuer_key(running).sign(_assertion(running, sub=subject))
    code, found = _inspect(running, token)
    assert code == 1
    assert found["trust"] == "no federated credential of this instance trusts it"
    assert found["credentials"][0]["differs"] == ["subject"]
    lines = running("token", "inspect", token).stdout.splitlines()
    shown = next(n for n, line in enumerate(lines) if line.endswith(f"assertion:  {subject}"))
    assert lines[shown + 1].index("^") == lines[shown].index("Web")


async def test_signature_of_an_access_token_of_this_instance_is_valid(running: Podpass) -> None:
    status = running.status()
    form = {
        "grant_type": "client_credentials",
        "client_id": CLIENT,
        "scope": "https://vault.azure.net/.default",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": _issuer_key(running).sign(_assertion(running)),
    }
    context = ssl.create_default_context(cafile=status["ca_file"])
    url = f"{status['authority']}/{status['tenant_id']}/oauth2/v2.0/token"
    async with ClientSession() as session, session.post(url, data=form, ssl=context) as answer:
        token = (await answer.json())["access_token"]
    code, found = _inspect(running, token)
    assert (code, found["hop"], found["state"]) == (0, "resource", "valid")
    assert found["what"] == "access token for Azure Key Vault"
    assert found["signature"] == "valid"


@pytest.mark.parametrize(
    "issuer",
    [
        *("https://example.com/", "http://login.microsoftonline.com/x"),
        *("https://login.microsoftonline.com:8443/x", "https://localhost:1/x"),
        *("file:///etc/passwd", "https://[broken", ""),
    ],
)
def test_keys_of_a_foreign_issuer_are_not_fetched(running: Podpass, issuer: str) -> None:
    """The address comes from the token: a token must not make podpass call other hosts."""
    token = KEY.sign(_assertion(running, iss=issuer, aud="https://example.com"))
    code, found = _inspect(running, token)
    assert code == 0
    assert found["signature"].startswith("not checked")


def test_signature_is_not_checked_without_an_instance(podpass: Podpass) -> None:
    code, found = _inspect(podpass, KEY.sign({"iss": ENTRA_V2, "exp": 1}))
    assert (code, found["state"]) == (1, "expired")
    assert "no instance is running" in found["signature"]


def test_token_is_read_from_an_argument_a_file_or_stdin(podpass: Podpass, tmp_path: Path) -> None:
    token = KEY.sign(ACCOUNT)
    file = tmp_path / "token"
    file.write_text(token + "\n")
    outputs = {
        podpass("token", "inspect", token).stdout,
        podpass("token", "inspect", str(file)).stdout,
        podpass("token", "inspect", input=token + "\n").stdout,
        podpass("token", "inspect", "-", input=token).stdout,
    }
    assert len(outputs) == 1
    assert "system:serviceaccount:default:web" in outputs.pop()


@pytest.mark.processes
def test_token_inspect_does_not_wait_for_input_from_a_terminal(podpass: Podpass) -> None:
    """Fails when the command waits for input that the user does not know of."""
    controller, terminal = os.openpty()
    try:
        done = podpass("token", "inspect", stdin=terminal)
    finally:
        os.close(controller)
        os.close(terminal)
    assert done.returncode == 2
    assert "no token to inspect was given" in done.stderr


@pytest.mark.parametrize("text", ["", "a.b", "eyJ.x.y", "x" * 70_000, "a.b.c.d.e"])
def test_invalid_token_is_refused_without_printing_it(podpass: Podpass, text: str) -> None:
    done = podpass("token", "inspect", input=text)
    assert done.returncode == 1
    assert "this is not a token" in done.stderr
    assert len(done.stderr) < 300


def test_control_characters_of_a_token_are_escaped(podpass: Podpass) -> None:
    """Fails when control or direction characters of a claim are printed unescaped."""
    claims = {"sub": "a\x1b]0;owned\x07\u202e", "x\x1b[2J": "\x9b31m", "n": ["\u202e"]}
    done = podpass("token", "inspect", input=KEY.sign({**claims, "exp": time.time() + 60}))
    assert done.returncode == 0
    assert all(line.isprintable() for line in done.stdout.splitlines())
    assert "\\u001b]0;owned" in done.stdout
