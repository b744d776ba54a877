"""Secrets and certificates: create, add, list, remove, and proof tokens."""

import base64
import hashlib
import logging
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from podpass.clock import rfc3339
from podpass.crypto import jose
from podpass.directory.model import Identity
from tests.directory.graph.harness import TENANT, Graph
from tests.rsa_keys import KEY, OTHER_KEY


def certificate(key: Any = KEY, days: int = 30) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "web")])
    now = datetime.now(tz=UTC) - timedelta(days=1)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
    made = made.not_valid_before(now).not_valid_after(now + timedelta(days=days))
    return made.sign(key, hashes.SHA256())


def with_long_exponent(key: rsa.RSAPrivateKey) -> rsa.RSAPrivateKey:
    """Return a valid key with an exponent of 1,279 bits: each verification takes milliseconds."""
    old, e = key.private_numbers(), 2**1279 - 1
    d = pow(e, -1, (old.p - 1) * (old.q - 1))
    dmp1, dmq1 = rsa.rsa_crt_dmp1(d, old.p), rsa.rsa_crt_dmq1(d, old.q)
    public = rsa.RSAPublicNumbers(e, old.public_numbers.n)
    return rsa.RSAPrivateNumbers(old.p, old.q, d, dmp1, dmq1, old.iqmp, public).private_key()


def key_credential(key: Any = KEY, **changes: Any) -> dict[str, Any]:
    der = certificate(key).public_bytes(Encoding.DER)
    found = {"type": "AsymmetricX509Cert", "usage": "Verify", "key": base64.b64encode(der).decode()}
    return found | changes


def proof(graph: Graph, issuer: str, key: Any = KEY, **changes: Any) -> str:
    now = int(graph.clock())
    claims = {
        "aud": "00000002-0000-0000-c000-000000000000",
        "iss": issuer,
        "nbf": now,
        "exp": now + 600,
    }
    present = {name: value for name, value in (claims | changes).items() if value is not None}
    return jose.SigningKey(kid="k", key=key).sign(present)


async def stored_identity(graph: Graph, application: Any) -> Identity:
    found = await graph.directory.identities.get(TENANT, application["appId"])
    assert found is not None
    return found


# -------------------------------------------------------------------------------------- secrets


async def test_secret_is_returned_once_and_stored_as_a_digest(
    graph: Graph, caplog: pytest.LogCaptureFixture
) -> None:
    """Fails if the database, the log or the API contains the secret."""
    caplog.set_level(logging.DEBUG)
    made = await graph.application()
    path = f"/applications/{made['id']}"
    reply = await graph.post(f"{path}/addPassword", {"passwordCredential": {"displayName": "ci"}})
    assert reply.status == 200
    text = reply.body["secretText"]
    assert len(text) == 40
    assert reply.body["hint"] == text[:3]
    shown = (await graph.get(path)).body["passwordCredentials"]
    assert [(one["secretText"], one["displayName"]) for one in shown] == [(None, "ci")]
    identity = await stored_identity(graph, made)
    assert [one.digest for one in identity.passwords] == [hashlib.sha256(text.encode()).digest()]
    assert text not in repr(identity)
    assert text not in caplog.text
    assert text not in str([vars(record) for record in caplog.records])


async def test_secrets_are_unique_and_valid_for_two_years_by_default(graph: Graph) -> None:
    made = await graph.application()
    path = f"/applications/{made['id']}/addPassword"
    replies = [await graph.post(path, {}) for _ in range(3)]
    assert len({reply.body["secretText"] for reply in replies}) == 3
    end = datetime.fromisoformat(replies[0].body["endDateTime"]).timestamp()
    assert end == graph.clock() + 2 * 365 * 86400
    custom = await graph.post(
        path, {"passwordCredential": {"endDateTime": rfc3339(graph.clock() + 60)}}
    )
    assert custom.body["endDateTime"] == rfc3339(graph.clock() + 60)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"secretText": "chosen-by-me"}, "Request_BadRequest"),
        ({"endDateTime": "2001-01-01T00:00:00Z"}, "Request_BadRequest"),
        (
            {"startDateTime": "2100-01-01T00:00:00Z", "endDateTime": "2099-01-01T00:00:00Z"},
            "Request_BadRequest",
        ),
        ({"endDateTime": "tomorrow"}, "BadRequest"),
        ({"displayName": "n" * 121}, "Request_BadRequest"),
        ({"colour": "red"}, "Request_BadRequest"),
    ],
)
async def test_invalid_secret_is_rejected(graph: Graph, given: dict[str, Any], code: str) -> None:
    made = await graph.application()
    path = f"/applications/{made['id']}"
    reply = await graph.post(f"{path}/addPassword", {"passwordCredential": given})
    assert (reply.status, reply.code) == (400, code)
    assert (await graph.get(path)).body["passwordCredentials"] == []


async def test_secret_is_removed_by_id(graph: Graph) -> None:
    made = await graph.application()
    path = f"/applications/{made['id']}"
    first = (await graph.post(f"{path}/addPassword", {})).body
    second = (await graph.post(f"{path}/addPassword", {})).body
    reply = await graph.post(f"{path}/removePassword", {"keyId": first["keyId"]})
    assert (reply.status, reply.body) == (204, None)
    left = (await graph.get(path)).body["passwordCredentials"]
    assert [one["keyId"] for one in left] == [second["keyId"]]
    again = await graph.post(f"{path}/removePassword", {"keyId": first["keyId"]})
    assert (again.status, again.code) == (400, "Request_BadRequest")


async def test_patch_removes_secrets_and_cannot_add_them(graph: Graph) -> None:
    made = await graph.application()
    path = f"/applications/{made['id']}"
    one = (await graph.post(f"{path}/addPassword", {})).body
    await graph.post(f"{path}/addPassword", {})
    new = await graph.patch(path, {"passwordCredentials": [{"displayName": "new"}]})
    assert (new.status, new.code) == (400, "Request_BadRequest")
    text = await graph.patch(
        path, {"passwordCredentials": [{"keyId": one["keyId"], "secretText": "mine"}]}
    )
    assert text.status == 400
    kept_one = await graph.patch(path, {"passwordCredentials": [{"keyId": one["keyId"]}]})
    assert kept_one.status == 204
    left = (await graph.get(path)).body["passwordCredentials"]
    assert [each["keyId"] for each in left] == [one["keyId"]]


async def test_secret_is_created_together_with_its_application(graph: Graph) -> None:
    made = await graph.application(passwordCredentials=[{"displayName": "first"}])
    [one] = made["passwordCredentials"]
    identity = await stored_identity(graph, made)
    assert hashlib.sha256(one["secretText"].encode()).digest() == identity.passwords[0].digest
    read = (await graph.get(f"/applications/{made['id']}")).body
    assert read["passwordCredentials"][0]["secretText"] is None


async def test_secrets_of_a_service_principal_are_separate_and_deleted_with_it(
    graph: Graph,
) -> None:
    made = await graph.application()
    principal = await graph.principal(made["appId"])
    path = f"/servicePrincipals/{principal['id']}"
    mine = (await graph.post(f"{path}/addPassword", {})).body
    theirs = (await graph.post(f"/applications/{made['id']}/addPassword", {})).body
    shown = (await graph.get(path)).body["passwordCredentials"]
    assert [one["keyId"] for one in shown] == [mine["keyId"]]
    shown = (await graph.get(f"/applications/{made['id']}")).body["passwordCredentials"]
    assert [one["keyId"] for one in shown] == [theirs["keyId"]]
    wrong = await graph.post(f"{path}/removePassword", {"keyId": theirs["keyId"]})
    assert (wrong.status, wrong.code) == (400, "Request_BadRequest")
    await graph.delete(path)
    assert [one.key_id for one in (await stored_identity(graph, made)).passwords] == [
        theirs["keyId"]
    ]


async def test_secret_of_a_managed_identity_is_rejected(graph: Graph) -> None:
    """Fails if a caller can sign in as a managed identity with a secret."""
    managed = await graph.managed()
    path = f"/servicePrincipals/{managed.object_id}"
    for reply in (
        await graph.post(f"{path}/addPassword", {}),
        await graph.post(f"{path}/addKey", {"keyCredential": key_credential(), "proof": "x"}),
        await graph.patch(path, {"keyCredentials": [key_credential()]}),
    ):
        assert (reply.status, reply.code) == (400, "Request_BadRequest")
    found = await graph.directory.identities.get(TENANT, managed.client_id)
    assert found is not None
    assert (found.passwords, found.keys) == ((), ())


# --------------------------------------------------------------------------------- certificates


async def test_certificates_are_added_by_patch_and_listed_without_their_bytes(graph: Graph) -> None:
    made = await graph.application()
    path = f"/applications/{made['id']}"
    given = key_credential(displayName="CN=web", keyId=str(uuid.uuid4()))
    assert (await graph.patch(path, {"keyCredentials": [given]})).status == 204
    [one] = (await graph.get(path)).body["keyCredentials"]
    digest = hashlib.sha1(base64.b64decode(given["key"])).hexdigest().upper()
    assert (one["key"], one["keyId"], one["customKeyIdentifier"]) == (None, given["keyId"], digest)
    selected = (await graph.get(f"{path}?$select=keyCredentials")).body["keyCredentials"]
    assert selected[0]["key"] == given["key"]
    listed = (await graph.get("/applications?$select=keyCredentials")).value
    assert listed[0]["keyCredentials"][0]["key"] is None


async def test_patch_keeps_only_the_certificates_that_it_lists(graph: Graph) -> None:
    made = await graph.application(keyCredentials=[key_credential()])
    path = f"/applications/{made['id']}"
    [old] = (await graph.get(path)).body["keyCredentials"]
    both = {"keyCredentials": [old, key_credential(OTHER_KEY)]}
    assert (await graph.patch(path, both)).status == 204
    assert len((await graph.get(path)).body["keyCredentials"]) == 2
    other = key_credential(OTHER_KEY, keyId=old["keyId"])
    swapped = await graph.patch(path, {"keyCredentials": [other]})
    assert (swapped.status, swapped.code) == (400, "KeyCredentialsUpdateNotAllowed")
    assert (await graph.patch(path, {"keyCredentials": []})).status == 204
    assert (await graph.get(path)).body["keyCredentials"] == []


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"key": "x"}, "Request_BadRequest"),
        ({"key": None}, "Request_BadRequest"),
        ({"key": base64.b64encode(b"no certificate").decode()}, "Request_BadRequest"),
        ({"type": "Symmetric"}, "Request_BadRequest"),
        ({"usage": "Sign"}, "Request_BadRequest"),
        ({"keyId": "x"}, "Request_BadRequest"),
        ({"endDateTime": "2001-01-01T00:00:00Z"}, "KeyCredentialsInvalidEndDate"),
        ({"endDateTime": "2999-01-01T00:00:00Z"}, "KeyCredentialsInvalidEndDate"),
        (key_credential(ec.generate_private_key(ec.SECP256R1())), "Request_BadRequest"),
        (key_credential(rsa.generate_private_key(65537, 1024)), "Request_BadRequest"),
        (key_credential(with_long_exponent(KEY)), "Request_BadRequest"),
    ],
    ids=range(11),
)
async def test_invalid_certificate_is_rejected(
    graph: Graph, given: dict[str, Any], code: str
) -> None:
    made = await graph.application()
    path = f"/applications/{made['id']}"
    reply = await graph.patch(path, {"keyCredentials": [key_credential() | given]})
    assert (reply.status, reply.code) == (400, code)
    assert (await graph.get(path)).body["keyCredentials"] == []


# ------------------------------------------------------------------------------ proof tokens


async def test_application_rolls_its_own_certificate_with_a_proof_token(graph: Graph) -> None:
    made = await graph.application(keyCredentials=[key_credential()])
    graph.add_app("itself", app_id=made["appId"])
    path = f"/applications/{made['id']}"
    body = {
        "keyCredential": key_credential(OTHER_KEY),
        "passwordCredential": None,
        "proof": proof(graph, made["id"]),
    }
    added = await graph.post(f"{path}/addKey", body, caller="itself")
    assert added.status == 200
    assert len((await graph.get(path)).body["keyCredentials"]) == 2
    removed = await graph.post(
        f"{path}/removeKey",
        {"keyId": added.body["keyId"], "proof": proof(graph, made["id"])},
        caller="itself",
    )
    assert removed.status == 204
    assert len((await graph.get(path)).body["keyCredentials"]) == 1


async def test_other_application_needs_a_permission_even_with_a_proof_token(graph: Graph) -> None:
    made = await graph.application(keyCredentials=[key_credential()])
    graph.add_app("other")
    body = {"keyCredential": key_credential(OTHER_KEY), "proof": proof(graph, made["id"])}
    reply = await graph.post(f"/applications/{made['id']}/addKey", body, caller="other")
    assert (reply.status, reply.code) == (403, "Authorization_RequestDenied")


@pytest.mark.parametrize(
    "changes",
    [
        *({"aud": "https://graph.microsoft.com"}, {"iss": str(uuid.UUID(int=7))}, {"iss": None}),
        *({"exp": None}, {"nbf": None}, {"exp": 1}, {"exp": 99999999999}),
        *({"nbf": 99999999999}, {"key": OTHER_KEY}),
    ],
    ids=range(9),
)
async def test_proof_token_with_a_wrong_claim_or_key_is_rejected(
    graph: Graph, changes: dict[str, Any]
) -> None:
    """Fails if a stolen access token suffices to add a permanent certificate."""
    made = await graph.application(keyCredentials=[key_credential()])
    key = changes.pop("key", KEY)
    text = proof(graph, made["id"], key, **changes)
    body = {"keyCredential": key_credential(OTHER_KEY), "proof": text}
    reply = await graph.post(f"/applications/{made['id']}/addKey", body)
    assert (reply.status, reply.code) == (400, "Authentication_MissingOrMalformed")
    assert len((await stored_identity(graph, made)).keys) == 1


@pytest.mark.parametrize("days", [-2, 40], ids=["not yet", "no longer"])
async def test_proof_token_of_an_expired_certificate_is_rejected(graph: Graph, days: int) -> None:
    made = await graph.application(keyCredentials=[key_credential()])
    graph.clock.now += days * 86_400
    new = base64.b64encode(certificate(OTHER_KEY, 90).public_bytes(Encoding.DER)).decode()
    body = {"keyCredential": key_credential() | {"key": new}, "proof": proof(graph, made["id"])}
    reply = await graph.post(f"/applications/{made['id']}/addKey", body)
    assert (reply.status, reply.code) == (400, "Authentication_MissingOrMalformed")
    assert len((await stored_identity(graph, made)).keys) == 1


async def test_certificate_is_removed_only_with_a_proof_token(graph: Graph) -> None:
    made = await graph.application(keyCredentials=[key_credential()])
    key_id = (await stored_identity(graph, made)).keys[0].key_id
    path = f"/applications/{made['id']}/removeKey"
    for text in (proof(graph, made["id"], OTHER_KEY), "x", None):
        reply = await graph.post(path, {"keyId": key_id, "proof": text})
        assert reply.status == 400
    assert len((await stored_identity(graph, made)).keys) == 1
    good = {"keyId": str(uuid.uuid4()), "proof": proof(graph, made["id"])}
    assert (await graph.post(path, good)).code == "Request_BadRequest"
    assert (await graph.post(path, good | {"keyId": key_id})).status == 204


async def test_proof_token_is_rejected_without_an_existing_certificate(graph: Graph) -> None:
    made = await graph.application()
    for text in (proof(graph, made["id"]), "x", None):
        body = {"keyCredential": key_credential(), "proof": text}
        reply = await graph.post(f"/applications/{made['id']}/addKey", body)
        assert reply.status == 400
    assert (await stored_identity(graph, made)).keys == ()
