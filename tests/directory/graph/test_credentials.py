"""Secrets and certificates: made or read, shown once or never, taken away again."""

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
from tests.directory.graph.world import TENANT, World

KEY = jose.generate_rsa()
OTHER_KEY = jose.generate_rsa()


def certificate(key: Any = KEY, days: int = 30) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "web")])
    now = datetime.now(tz=UTC) - timedelta(days=1)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
    made = made.not_valid_before(now).not_valid_after(now + timedelta(days=days))
    return made.sign(key, hashes.SHA256())


def key_credential(key: Any = KEY, **changes: Any) -> dict[str, Any]:
    der = certificate(key).public_bytes(Encoding.DER)
    found = {"type": "AsymmetricX509Cert", "usage": "Verify", "key": base64.b64encode(der).decode()}
    return found | changes


def proof(world: World, issuer: str, key: Any = KEY, **changes: Any) -> str:
    now = int(world.clock())
    claims = {
        "aud": "00000002-0000-0000-c000-000000000000",
        "iss": issuer,
        "nbf": now,
        "exp": now + 600,
    }
    kept = {name: value for name, value in (claims | changes).items() if value is not None}
    return jose.SigningKey(kid="k", key=key).sign(kept)


async def kept(world: World, application: Any) -> Identity:
    found = await world.directory.identities.get(TENANT, application["appId"])
    assert found is not None
    return found


# -------------------------------------------------------------------------------------- secrets


async def test_a_secret_is_shown_once_and_kept_as_a_digest(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Without it whoever reads the database, the log or the API has the secret."""
    caplog.set_level(logging.DEBUG)
    made = await world.application()
    path = f"/applications/{made['id']}"
    reply = await world.post(f"{path}/addPassword", {"passwordCredential": {"displayName": "ci"}})
    assert reply.status == 200
    text = reply.body["secretText"]
    assert len(text) == 40
    assert reply.body["hint"] == text[:3]
    shown = (await world.get(path)).body["passwordCredentials"]
    assert [(one["secretText"], one["displayName"]) for one in shown] == [(None, "ci")]
    identity = await kept(world, made)
    assert [one.digest for one in identity.passwords] == [hashlib.sha256(text.encode()).digest()]
    assert text not in repr(identity)
    assert text not in caplog.text
    assert text not in str([vars(record) for record in caplog.records])


async def test_secrets_differ_and_last_two_years_unless_told(world: World) -> None:
    made = await world.application()
    path = f"/applications/{made['id']}/addPassword"
    replies = [await world.post(path, {}) for _ in range(3)]
    assert len({reply.body["secretText"] for reply in replies}) == 3
    end = datetime.fromisoformat(replies[0].body["endDateTime"]).timestamp()
    assert end == world.clock() + 2 * 365 * 86400
    told = await world.post(
        path, {"passwordCredential": {"endDateTime": rfc3339(world.clock() + 60)}}
    )
    assert told.body["endDateTime"] == rfc3339(world.clock() + 60)


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
async def test_a_secret_that_cannot_be_is_refused(
    world: World, given: dict[str, Any], code: str
) -> None:
    made = await world.application()
    path = f"/applications/{made['id']}"
    reply = await world.post(f"{path}/addPassword", {"passwordCredential": given})
    assert (reply.status, reply.code) == (400, code)
    assert (await world.get(path)).body["passwordCredentials"] == []


async def test_a_secret_is_removed_by_its_id(world: World) -> None:
    made = await world.application()
    path = f"/applications/{made['id']}"
    first = (await world.post(f"{path}/addPassword", {})).body
    second = (await world.post(f"{path}/addPassword", {})).body
    reply = await world.post(f"{path}/removePassword", {"keyId": first["keyId"]})
    assert (reply.status, reply.body) == (204, None)
    left = (await world.get(path)).body["passwordCredentials"]
    assert [one["keyId"] for one in left] == [second["keyId"]]
    again = await world.post(f"{path}/removePassword", {"keyId": first["keyId"]})
    assert (again.status, again.code) == (400, "Request_BadRequest")


async def test_a_patch_takes_secrets_away_and_brings_none(world: World) -> None:
    made = await world.application()
    path = f"/applications/{made['id']}"
    one = (await world.post(f"{path}/addPassword", {})).body
    await world.post(f"{path}/addPassword", {})
    new = await world.patch(path, {"passwordCredentials": [{"displayName": "new"}]})
    assert (new.status, new.code) == (400, "Request_BadRequest")
    text = await world.patch(
        path, {"passwordCredentials": [{"keyId": one["keyId"], "secretText": "mine"}]}
    )
    assert text.status == 400
    kept_one = await world.patch(path, {"passwordCredentials": [{"keyId": one["keyId"]}]})
    assert kept_one.status == 204
    left = (await world.get(path)).body["passwordCredentials"]
    assert [each["keyId"] for each in left] == [one["keyId"]]


async def test_a_secret_can_be_made_together_with_its_application(world: World) -> None:
    made = await world.application(passwordCredentials=[{"displayName": "first"}])
    [one] = made["passwordCredentials"]
    identity = await kept(world, made)
    assert hashlib.sha256(one["secretText"].encode()).digest() == identity.passwords[0].digest
    read = (await world.get(f"/applications/{made['id']}")).body
    assert read["passwordCredentials"][0]["secretText"] is None


async def test_a_principals_secrets_are_its_own_and_go_with_it(world: World) -> None:
    made = await world.application()
    principal = await world.principal(made["appId"])
    path = f"/servicePrincipals/{principal['id']}"
    mine = (await world.post(f"{path}/addPassword", {})).body
    theirs = (await world.post(f"/applications/{made['id']}/addPassword", {})).body
    shown = (await world.get(path)).body["passwordCredentials"]
    assert [one["keyId"] for one in shown] == [mine["keyId"]]
    shown = (await world.get(f"/applications/{made['id']}")).body["passwordCredentials"]
    assert [one["keyId"] for one in shown] == [theirs["keyId"]]
    wrong = await world.post(f"{path}/removePassword", {"keyId": theirs["keyId"]})
    assert (wrong.status, wrong.code) == (400, "Request_BadRequest")
    await world.delete(path)
    assert [one.key_id for one in (await kept(world, made)).passwords] == [theirs["keyId"]]


async def test_a_managed_identity_gets_no_secret(world: World) -> None:
    """Without it a managed identity, which nobody signs in as, could be signed in as."""
    managed = await world.managed()
    path = f"/servicePrincipals/{managed.object_id}"
    for reply in (
        await world.post(f"{path}/addPassword", {}),
        await world.post(f"{path}/addKey", {"keyCredential": key_credential(), "proof": "x"}),
        await world.patch(path, {"keyCredentials": [key_credential()]}),
    ):
        assert (reply.status, reply.code) == (400, "Request_BadRequest")
    found = await world.directory.identities.get(TENANT, managed.client_id)
    assert found is not None
    assert (found.passwords, found.keys) == ((), ())


# --------------------------------------------------------------------------------- certificates


async def test_certificates_are_brought_by_patch_and_shown_without_themselves(
    world: World,
) -> None:
    made = await world.application()
    path = f"/applications/{made['id']}"
    given = key_credential(displayName="CN=web", keyId=str(uuid.uuid4()))
    assert (await world.patch(path, {"keyCredentials": [given]})).status == 204
    [one] = (await world.get(path)).body["keyCredentials"]
    digest = hashlib.sha1(base64.b64decode(given["key"])).hexdigest().upper()
    assert (one["key"], one["keyId"], one["customKeyIdentifier"]) == (None, given["keyId"], digest)
    selected = (await world.get(f"{path}?$select=keyCredentials")).body["keyCredentials"]
    assert selected[0]["key"] == given["key"]
    listed = (await world.get("/applications?$select=keyCredentials")).value
    assert listed[0]["keyCredentials"][0]["key"] is None


async def test_a_patch_keeps_the_certificates_it_lists(world: World) -> None:
    made = await world.application(keyCredentials=[key_credential()])
    path = f"/applications/{made['id']}"
    [old] = (await world.get(path)).body["keyCredentials"]
    both = {"keyCredentials": [old, key_credential(OTHER_KEY)]}
    assert (await world.patch(path, both)).status == 204
    assert len((await world.get(path)).body["keyCredentials"]) == 2
    other = key_credential(OTHER_KEY, keyId=old["keyId"])
    swapped = await world.patch(path, {"keyCredentials": [other]})
    assert (swapped.status, swapped.code) == (400, "KeyCredentialsUpdateNotAllowed")
    assert (await world.patch(path, {"keyCredentials": []})).status == 204
    assert (await world.get(path)).body["keyCredentials"] == []


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
    ],
    ids=range(10),
)
async def test_a_certificate_that_cannot_be_is_refused(
    world: World, given: dict[str, Any], code: str
) -> None:
    made = await world.application()
    path = f"/applications/{made['id']}"
    reply = await world.patch(path, {"keyCredentials": [key_credential() | given]})
    assert (reply.status, reply.code) == (400, code)
    assert (await world.get(path)).body["keyCredentials"] == []


# ------------------------------------------------------------------------------ rolling by proof


async def test_an_application_rolls_its_own_certificate_with_a_proof(world: World) -> None:
    made = await world.application(keyCredentials=[key_credential()])
    world.app("itself", app_id=made["appId"])
    path = f"/applications/{made['id']}"
    body = {
        "keyCredential": key_credential(OTHER_KEY),
        "passwordCredential": None,
        "proof": proof(world, made["id"]),
    }
    added = await world.post(f"{path}/addKey", body, who="itself")
    assert added.status == 200
    assert len((await world.get(path)).body["keyCredentials"]) == 2
    removed = await world.post(
        f"{path}/removeKey",
        {"keyId": added.body["keyId"], "proof": proof(world, made["id"])},
        who="itself",
    )
    assert removed.status == 204
    assert len((await world.get(path)).body["keyCredentials"]) == 1


async def test_another_application_needs_a_permission_even_with_a_proof(world: World) -> None:
    made = await world.application(keyCredentials=[key_credential()])
    world.app("other")
    body = {"keyCredential": key_credential(OTHER_KEY), "proof": proof(world, made["id"])}
    reply = await world.post(f"/applications/{made['id']}/addKey", body, who="other")
    assert (reply.status, reply.code) == (403, "Authorization_RequestDenied")


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "https://graph.microsoft.com"},
        {"iss": str(uuid.UUID(int=7))},
        {"iss": None},
        {"exp": None},
        {"nbf": None},
        {"exp": 1},
        {"exp": 99999999999},
        {"nbf": 99999999999},
        {"key": OTHER_KEY},
    ],
    ids=range(9),
)
async def test_a_proof_that_is_not_one_is_refused(world: World, changes: dict[str, Any]) -> None:
    """Without it a stolen access token would be enough to add a certificate for ever."""
    made = await world.application(keyCredentials=[key_credential()])
    key = changes.pop("key", KEY)
    text = proof(world, made["id"], key, **changes)
    body = {"keyCredential": key_credential(OTHER_KEY), "proof": text}
    reply = await world.post(f"/applications/{made['id']}/addKey", body)
    assert (reply.status, reply.code) == (400, "Authentication_MissingOrMalformed")
    assert len((await kept(world, made)).keys) == 1


@pytest.mark.parametrize("days", [-2, 40], ids=["not yet", "no longer"])
async def test_a_certificate_proves_nothing_out_of_its_time(world: World, days: int) -> None:
    made = await world.application(keyCredentials=[key_credential()])
    world.clock.now += days * 86_400
    new = base64.b64encode(certificate(OTHER_KEY, 90).public_bytes(Encoding.DER)).decode()
    body = {"keyCredential": key_credential() | {"key": new}, "proof": proof(world, made["id"])}
    reply = await world.post(f"/applications/{made['id']}/addKey", body)
    assert (reply.status, reply.code) == (400, "Authentication_MissingOrMalformed")
    assert len((await kept(world, made)).keys) == 1


async def test_a_certificate_is_taken_away_with_a_proof_only(world: World) -> None:
    made = await world.application(keyCredentials=[key_credential()])
    key_id = (await kept(world, made)).keys[0].key_id
    path = f"/applications/{made['id']}/removeKey"
    for text in (proof(world, made["id"], OTHER_KEY), "x", None):
        reply = await world.post(path, {"keyId": key_id, "proof": text})
        assert reply.status == 400
    assert len((await kept(world, made)).keys) == 1
    good = {"keyId": str(uuid.uuid4()), "proof": proof(world, made["id"])}
    assert (await world.post(path, good)).code == "Request_BadRequest"
    assert (await world.post(path, good | {"keyId": key_id})).status == 204


async def test_without_a_certificate_there_is_no_proof(world: World) -> None:
    made = await world.application()
    for text in (proof(world, made["id"]), "x", None):
        body = {"keyCredential": key_credential(), "proof": text}
        reply = await world.post(f"/applications/{made['id']}/addKey", body)
        assert reply.status == 400
    assert (await kept(world, made)).keys == ()
