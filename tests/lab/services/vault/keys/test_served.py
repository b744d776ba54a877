"""Keys served over HTTP: every operation, and Azure's errors."""

import asyncio
import base64
import hashlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from joserfc.jwk import ECKey, RSAKey

from podpass.directory.model import AccessPolicy, Identity
from podpass.lab.services.vault.model import VaultAccess
from tests.directory.database_faults import corrupt

V = "?api-version=7.6"
BASE = "https://demo-vault.vault.azure.net"
DAY = 24 * 3600
ALL_OPERATIONS = ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"]
DIGEST = hashlib.sha256(b"message").digest()

Call = Callable[..., Awaitable[Any]]


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def data(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "==")


@pytest.fixture
async def officer(world: Any) -> Identity:
    made: Identity = await world.identity("officer", "Key Vault Crypto Officer")
    return made


@pytest.fixture
def call(world: Any, officer: Identity) -> Call:
    """Return a function that sends a request as the officer and returns the body of a response."""

    async def send(method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        # Tests move the clock by more than the lifetime of a token.
        token = world.authority.mint(officer)
        found, answer, _ = await world.send(method, path + V, token=token, body=body)
        assert found == status, answer
        return answer

    return send


async def create(call: Call, name: str = "k", **body: Any) -> Any:
    return await call("POST", f"/keys/{name}/create", {"kty": "EC", "crv": "P-256"} | body)


def version(answer: Any) -> str:
    return str(answer["key"]["kid"].rpartition("/")[2])


def code(answer: Any) -> tuple[str, str]:
    error = answer["error"]
    return error["code"], error.get("innererror", {}).get("code", "")


async def test_created_key_is_shown_as_azure_shows_it(world: Any, call: Call) -> None:
    made = await create(call, kty="RSA")
    now = int(world.clock())
    key = made["key"]
    assert set(key) == {"kid", "kty", "key_ops", "n", "e"}
    assert (key["kty"], key["e"], key["key_ops"]) == ("RSA", "AQAB", ALL_OPERATIONS)
    assert key["kid"].startswith(f"{BASE}/keys/k/")
    assert made == {
        "key": key,
        "attributes": {
            "enabled": True,
            "created": now,
            "updated": now,
            "recoveryLevel": "Recoverable+Purgeable",
            "recoverableDays": 90,
            "exportable": False,
        },
    }
    for path in ("/keys/k", "/keys/k/", "/Keys/K", f"/keys/k/{version(made)}"):
        assert await call("GET", path) == made


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521", "P-256K"])
async def test_created_ec_key_signs(call: Call, curve: str) -> None:
    made = await create(
        call, crv=curve, tags={"a": "b"}, attributes={"enabled": True, "exp": 10**11}
    )
    assert (made["key"]["crv"], made["key"]["key_ops"]) == (curve, ["sign", "verify"])
    assert (made["tags"], made["attributes"]["exp"]) == ({"a": "b"}, 10**11)
    alg = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "P-256K": "ES256K"}[curve]
    digest = hashlib.new({"ES384": "sha384", "ES512": "sha512"}.get(alg, "sha256"), b"m").digest()
    signed = await call("POST", "/keys/k//sign", {"alg": alg, "value": text(digest)})
    assert signed["kid"] == made["key"]["kid"]
    body = {"alg": alg, "digest": text(digest), "value": signed["value"]}
    assert await call("POST", f"/keys/k/{version(made)}/verify", body) == {"value": True}
    # azkeys for Go omits the segment of an empty version.
    assert await call("POST", "/keys/k/verify", body) == {"value": True}
    body["value"] = text(b"\1" * len(data(signed["value"])))
    assert await call("POST", "/keys/k//verify", body) == {"value": False}


async def test_imported_rsa_key_works_with_its_local_copy(call: Call) -> None:
    local = RSAKey.generate_key(2048)
    jwk = {**local.as_dict(private=True), "key_ops": ["sign", "decrypt", "unwrapKey", "encrypt"]}
    made = await call("PUT", "/keys/k", {"key": jwk, "tags": {"a": "b"}})
    assert (made["key"]["n"], made["tags"]) == (jwk["n"], {"a": "b"})
    assert "d" not in made["key"]
    private = local.private_key
    assert isinstance(private, rsa.RSAPrivateKey)
    signed = await call("POST", "/keys/k//sign", {"alg": "PS256", "value": text(DIGEST)})
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    private.public_key().verify(data(signed["value"]), DIGEST, pss, Prehashed(hashes.SHA256()))
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    wrapped = {"alg": "RSA-OAEP-256", "value": text(private.public_key().encrypt(b"cek", oaep))}
    assert data((await call("POST", "/keys/k//unwrapkey", wrapped))["value"]) == b"cek"
    assert data((await call("POST", "/keys/k//decrypt", wrapped))["value"]) == b"cek"
    made = await call("POST", "/keys/k//encrypt", {"alg": "RSA-OAEP-256", "value": text(b"x")})
    assert private.decrypt(data(made["value"]), oaep) == b"x"
    refused = await call("POST", "/keys/k//wrapkey", wrapped, status=403)
    assert code(refused) == ("Forbidden", "KeyOperationForbidden")


async def test_imported_ec_key_signs_for_its_local_copy(call: Call) -> None:
    local = ECKey.generate_key("P-521")
    await call("PUT", "/keys/k", {"key": local.as_dict(private=True), "Hsm": False})
    digest = hashlib.sha512(b"m").digest()
    signed = data(
        (await call("POST", "/keys/k//sign", {"alg": "ES512", "value": text(digest)}))["value"]
    )
    assert len(signed) == 132
    private = local.private_key
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    halves = (int.from_bytes(signed[:66], "big"), int.from_bytes(signed[66:], "big"))
    scheme = ec.ECDSA(Prehashed(hashes.SHA512()))
    private.public_key().verify(encode_dss_signature(*halves), digest, scheme)


async def test_bytes_are_accepted_in_both_alphabets_of_base64(call: Call) -> None:
    """Jsign, which signs programs with keys in Azure, sends standard base64 with padding."""
    await create(call)
    digest = b"\xfb\xff" * 16
    standard = base64.b64encode(digest).decode()
    assert {"+", "/", "="} <= set(standard)
    signed = await call("POST", "/keys/k//sign", {"alg": "ES256", "value": standard})
    for encoded in (standard, text(digest), text(digest) + "="):
        body = {"alg": "ES256", "digest": encoded, "value": signed["value"]}
        assert await call("POST", "/keys/k//verify", body) == {"value": True}
    for invalid in ("-_+/%", standard[:-2], f"{standard}{standard}", 1, None):
        body = {"alg": "ES256", "value": invalid}
        assert code(await call("POST", "/keys/k//sign", body, status=400)) == ("BadParameter", "")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/keys/k/create", {"kty": "RSA-HSM"}),
        ("POST", "/keys/k/create", {"kty": "oct"}),
        ("POST", "/keys/k/create", {"kty": "RSA", "key_size": 16384}),
        ("POST", "/keys/k/create", {}),
        ("POST", "/keys/k/create", b"[]"),
        ("POST", "/keys/k_/create", {"kty": "RSA"}),
        ("PUT", "/keys/k", {"key": {"kty": "oct", "k": "AAAA"}}),
        ("PUT", "/keys/k", {}),
        ("POST", "/keys/k/" + "0" * 31 + "/sign", {"alg": "RS256", "value": ""}),
        ("POST", "/rng", {"count": 129}),
    ],
)
async def test_invalid_request_is_bad_parameter(
    call: Call, method: str, path: str, body: Any
) -> None:
    assert code(await call(method, path, body, status=400)) == ("BadParameter", "")


async def test_missing_key_is_key_not_found(call: Call) -> None:
    sign = {"alg": "ES256", "value": text(DIGEST)}
    await create(call)
    for method, path, body in (
        ("GET", "/keys/no", None),
        ("GET", "/keys/k/" + "0" * 32, None),
        ("PATCH", "/keys/no", {}),
        ("PATCH", "/keys/no", {"key_ops": []}),
        ("DELETE", "/keys/no", None),
        ("POST", "/keys/no//sign", sign),
        ("POST", "/keys/no/rotate", None),
        ("POST", "/keys/no/backup", None),
        ("GET", "/keys/no/rotationpolicy", None),
        ("PUT", "/keys/no/rotationpolicy", {}),
        ("GET", "/deletedkeys/k", None),
        ("DELETE", "/deletedkeys/k", None),
        ("POST", "/deletedkeys/k/recover", None),
        ("POST", "/keys/no//release", {"target": "x"}),
    ):
        answer = await call(method, path, body, status=404)
        assert code(answer) == ("KeyNotFound", ""), (method, path)
        assert "key" in answer["error"]["message"]
    assert (await call("GET", "/keys/no/versions"))["value"] == []


async def test_update_changes_attributes_and_operations_of_one_version(
    world: Any, call: Call
) -> None:
    first, second = await create(call, tags={"a": "b"}), await create(call)
    await world.set_time(world.clock.now + 10)
    body = {"key_ops": ["verify"], "attributes": {"enabled": False, "nbf": 5}}
    changed = await call("PATCH", f"/keys/k/{version(first)}", body)
    assert changed["key"] == {**first["key"], "key_ops": ["verify"]}
    shown = changed["attributes"]
    assert (shown["enabled"], shown["nbf"], shown["updated"] - shown["created"]) == (False, 5, 10)
    assert changed["tags"] == {"a": "b"}
    assert await call("GET", "/keys/k") == second
    assert (await call("PATCH", "/keys/k", {"tags": {}, "key_ops": []}))["key"]["key_ops"] == []
    refused = await call("PATCH", "/keys/k", {"key_ops": ["encrypt"]}, status=400)
    assert code(refused) == ("BadParameter", "")


async def test_disabled_and_expired_keys_are_refused_as_in_azure(world: Any, call: Call) -> None:
    now = int(world.clock())
    made = await create(call, kty="RSA", attributes={"nbf": now + 10, "exp": now + 20})
    use = {"alg": "RSA-OAEP", "value": text(b"x")}
    sign = {"alg": "RS256", "value": text(DIGEST)}

    async def refused(inner: str) -> None:
        for path, body in (("encrypt", use), ("wrapkey", use), ("sign", sign)):
            answer = await call("POST", f"/keys/k//{path}", body, status=403)
            assert code(answer) == ("Forbidden", inner)

    await refused("KeyNotYetValid")
    await world.set_time(world.clock.now + 10)
    wrapped = await call("POST", "/keys/k//wrapkey", use)
    signed = await call("POST", "/keys/k//sign", sign)
    await world.set_time(world.clock.now + 10)
    await refused("KeyExpired")
    use["value"] = wrapped["value"]
    assert data((await call("POST", "/keys/k//unwrapkey", use))["value"]) == b"x"
    assert data((await call("POST", "/keys/k//decrypt", use))["value"]) == b"x"
    verify = {"alg": "RS256", "digest": text(DIGEST), "value": signed["value"]}
    assert (await call("POST", "/keys/k//verify", verify))["value"] is True
    await call("PATCH", "/keys/k", {"attributes": {"enabled": False}})
    for path, body in (("decrypt", use), ("unwrapkey", use), ("verify", verify), ("sign", sign)):
        answer = await call("POST", f"/keys/k//{path}", body, status=403)
        assert code(answer) == ("Forbidden", "KeyDisabled")
    assert (await call("GET", "/keys/k"))["key"] == made["key"]


async def test_versions_and_keys_are_listed_in_pages(call: Call) -> None:
    made = [await create(call) for _ in range(3)]
    for name in ("a", "b"):
        await create(call, name)
    path = "/keys/k/versions"
    listed = await call("GET", path)
    assert [each["kid"] for each in listed["value"]] == [each["key"]["kid"] for each in made]
    assert set(listed["value"][0]) == {"kid", "attributes"}
    listed = await call("GET", "/keys")
    assert [each["kid"] for each in listed["value"]] == [f"{BASE}/keys/{name}" for name in "abk"]


async def test_list_has_a_link_to_the_next_page(world: Any, call: Call, officer: Identity) -> None:
    for name in ("a", "b", "c"):
        await create(call, name)
    token = world.authority.mint(officer)
    _, first, _ = await world.send("GET", f"/keys{V}&maxresults=2", token=token)
    assert [each["kid"][-1] for each in first["value"]] == ["a", "b"]
    _, rest, _ = await world.send("GET", first["nextLink"].removeprefix(BASE), token=token)
    assert [each["kid"][-1] for each in rest["value"]] == ["c"]
    assert rest["nextLink"] is None


async def test_deleted_key_is_listed_recovered_and_purged(world: Any, call: Call) -> None:
    made = await create(call)
    await create(call, "other")
    now = int(world.clock())
    gone = await call("DELETE", "/keys/k")
    assert gone == {
        **made,
        "recoveryId": f"{BASE}/deletedkeys/k",
        "deletedDate": now,
        "scheduledPurgeDate": now + 90 * DAY,
    }
    assert await call("GET", "/deletedkeys/k") == gone
    [listed] = (await call("GET", "/deletedkeys"))["value"]
    assert (listed["kid"], listed["recoveryId"]) == (f"{BASE}/keys/k", gone["recoveryId"])
    for method, path, body in (
        ("POST", "/keys/k/create", {"kty": "EC"}),
        ("PUT", "/keys/k", {"key": ECKey.generate_key("P-256").as_dict(private=True)}),
    ):
        taken = await call(method, path, body, status=409)
        assert code(taken) == ("Conflict", "ObjectIsDeletedButRecoverable")
    sign = {"alg": "ES256", "value": text(DIGEST)}
    assert code(await call("POST", "/keys/k//sign", sign, status=404)) == ("KeyNotFound", "")
    assert await call("POST", "/deletedkeys/k/recover") == made
    await call("DELETE", "/keys/k")
    await call("DELETE", "/deletedkeys/k", status=204)
    await call("GET", "/deletedkeys/k", status=404)
    assert version(await create(call)) != version(made)


async def test_purge_protection_keeps_a_deleted_key(world: Any, call: Call) -> None:
    await world.vault("demo-vault", purge_protection=True)
    made = await create(call)
    assert made["attributes"]["recoveryLevel"] == "Recoverable"
    await call("DELETE", "/keys/k")
    refused = await call("DELETE", "/deletedkeys/k", status=403)
    assert "deleted keys cannot be purged" in refused["error"]["message"]
    await world.set_time(world.clock.now + 90 * DAY)
    await call("GET", "/deletedkeys/k", status=404)


async def test_backup_has_all_versions_and_the_policy(world: Any, call: Call) -> None:
    first, second = await create(call, tags={"a": "b"}), await create(call)
    await call("PATCH", f"/keys/k/{version(first)}", {"key_ops": ["verify"]})
    rotate = {"trigger": {"timeAfterCreate": "P30D"}, "action": {"type": "Rotate"}}
    policy = await call("PUT", "/keys/k/rotationpolicy", {"lifetimeActions": [rotate]})
    blob = await call("POST", "/keys/k/backup")
    assert code(await call("POST", "/keys/restore", blob, status=409)) == ("Conflict", "")
    await call("DELETE", "/keys/k")
    await call("DELETE", "/deletedkeys/k", status=204)
    assert await call("POST", "/keys/restore", blob) == second
    restored = await call("GET", f"/keys/k/{version(first)}")
    assert (restored["key"]["key_ops"], restored["tags"]) == (["verify"], {"a": "b"})
    assert await call("GET", "/keys/k/rotationpolicy") == policy
    await world.set_time(world.clock.now + 30 * DAY)
    assert len((await call("GET", "/keys/k/versions"))["value"]) == 3


async def test_backup_of_a_key_is_no_backup_of_a_secret(world: Any, call: Call) -> None:
    """Its private key would be the value of the secret."""
    await create(call)
    blob = await call("POST", "/keys/k/backup")
    await world.grant(world.identities["officer"], "Key Vault Secrets Officer")
    assert code(await call("POST", "/secrets/restore", blob, status=400)) == ("BadParameter", "")
    await call("PUT", "/secrets/k", {"value": "x"})
    blob = await call("POST", "/secrets/k/backup")
    assert code(await call("POST", "/keys/restore", blob, status=400)) == ("BadParameter", "")


async def test_keys_and_secrets_with_one_name_are_separate(world: Any, call: Call) -> None:
    await world.grant(world.identities["officer"], "Key Vault Secrets Officer")
    await create(call)
    await call("PUT", "/secrets/k", {"value": "x"})
    await call("DELETE", "/keys/k")
    assert (await call("GET", "/secrets/k"))["value"] == "x"
    assert (await call("GET", "/secrets"))["value"][0]["id"] == f"{BASE}/secrets/k"
    assert (await call("GET", "/keys"))["value"] == []


async def test_rotated_key_is_like_the_last_version(world: Any, call: Call) -> None:
    made = await create(
        call, kty="RSA", key_size=3072, key_ops=["sign"], tags={"a": "b"}, public_exponent=3
    )
    await call("PUT", "/keys/k/rotationpolicy", {"attributes": {"expiryTime": "P90D"}})
    await world.set_time(world.clock.now + 5)
    rotated = await call("POST", "/keys/k/rotate")
    assert rotated["key"]["kid"] != made["key"]["kid"]
    assert rotated["key"]["n"] != made["key"]["n"]
    assert len(data(rotated["key"]["n"])) == 384
    assert (rotated["key"]["e"], rotated["key"]["key_ops"]) == ("Aw", ["sign"])
    assert rotated["tags"] == {"a": "b"}
    shown = rotated["attributes"]
    assert shown["exp"] == shown["created"] + 90 * DAY
    old = await call(
        "POST", f"/keys/k/{version(made)}/sign", {"alg": "RS256", "value": text(DIGEST)}
    )
    assert old["kid"] == made["key"]["kid"]


async def test_key_is_rotated_when_its_policy_says_so(world: Any, call: Call) -> None:
    made = await create(call)
    before = {"trigger": {"timeBeforeExpiry": "P10D"}, "action": {"type": "Rotate"}}
    after = {"trigger": {"timeAfterCreate": "P20D"}, "action": {"type": "Rotate"}}
    await call("PUT", "/keys/k/rotationpolicy", {"lifetimeActions": [after]})
    await world.set_time(world.clock.now + 20 * DAY - 1)
    assert await call("GET", "/keys/k") == made
    await world.set_time(world.clock.now + 1)
    second = await call("GET", "/keys/k")
    assert version(second) != version(made)
    assert second["attributes"]["created"] == int(world.clock())
    assert await call("GET", "/keys/k") == second
    body = {"lifetimeActions": [before], "attributes": {"expiryTime": "P30D"}}
    await call("PUT", "/keys/k/rotationpolicy", body)
    await world.set_time(world.clock.now + 100 * DAY)
    assert await call("GET", "/keys/k") == second, "it has no expiry"
    await call("PATCH", "/keys/k", {"attributes": {"exp": int(world.clock()) + 11 * DAY}})
    await world.set_time(world.clock.now + DAY)
    third = await call("GET", "/keys/k")
    assert version(third) != version(second)
    assert third["attributes"]["exp"] == int(world.clock()) + 30 * DAY
    assert len((await call("GET", "/keys/k/versions"))["value"]) == 3
    changes = [each for each in await world.directory.audit.list() if "rotate" in each.action]
    assert [each.actor_name for each in changes] == ["podpass", "podpass"]


async def test_expiry_of_a_key_with_a_policy_is_reported_once_for_each_version(
    world: Any, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "podpass.lab.services.vault")

    def reported() -> list[str]:
        return [
            each.__dict__["key"] for each in caplog.records if each.msg == "key_expiry_reported"
        ]

    await call(
        "POST",
        "/keys/other/create",
        {"kty": "RSA", "attributes": {"exp": int(world.clock()) + DAY}},
    )
    notice = {"trigger": {"timeBeforeExpiry": "P10D"}, "action": {"type": "Notify"}}
    await create(call)
    body = {"lifetimeActions": [notice], "attributes": {"expiryTime": "P90D"}}
    await call("PUT", "/keys/k/rotationpolicy", body)
    first = await call("POST", "/keys/k/rotate")
    await world.set_time(world.clock.now + 80 * DAY - 1)
    assert reported() == []
    for _ in range(3):
        await world.set_time(world.clock.now + DAY)
    assert reported() == ["k"]
    assert version(await call("GET", "/keys/k")) == version(first)
    await call("POST", "/keys/k/rotate")
    await world.set_time(world.clock.now + 81 * DAY)
    assert reported() == ["k", "k"]


async def test_deleted_key_is_not_rotated(world: Any, call: Call) -> None:
    await create(call)
    after = {"trigger": {"timeAfterCreate": "P20D"}, "action": {"type": "Rotate"}}
    await call("PUT", "/keys/k/rotationpolicy", {"lifetimeActions": [after]})
    await call("DELETE", "/keys/k")
    await world.set_time(world.clock.now + 30 * DAY)
    gone = await call("POST", "/deletedkeys/k/recover")
    assert gone["attributes"]["created"] == int(world.clock()) - 30 * DAY
    await world.maintenance.catch_up()
    assert version(await call("GET", "/keys/k")) != version(gone)


async def test_rotation_policy_is_shown_as_azure_shows_it(world: Any, call: Call) -> None:
    await create(call)
    notice = {"trigger": {"timeBeforeExpiry": "P30D"}, "action": {"type": "Notify"}}
    assert await call("GET", "/keys/k/rotationpolicy") == {
        "lifetimeActions": [notice],
        "attributes": {},
    }
    now = int(world.clock())
    rotate = {"trigger": {"timeAfterCreate": "P2M"}, "action": {"type": "Rotate"}}
    first = await call("PUT", "/keys/k/rotationpolicy", {"lifetimeActions": [rotate]})
    assert first == {
        "id": f"{BASE}/keys/k/rotationpolicy",
        "lifetimeActions": [rotate, notice],
        "attributes": {"created": now, "updated": now},
    }
    await world.set_time(world.clock.now + 7)
    second = await call("PUT", "/keys/k/rotationpolicy", {"attributes": {"expiryTime": "P90D"}})
    assert second["lifetimeActions"] == [notice]
    assert second["attributes"] == {"expiryTime": "P90D", "created": now, "updated": now + 7}
    assert await call("GET", "/keys/k/rotationpolicy") == second


async def test_random_bytes_are_returned(call: Call) -> None:
    for count in (1, 128):
        assert len(data((await call("POST", "/rng", {"count": count}))["value"])) == count


async def test_release_is_refused(call: Call) -> None:
    await create(call)
    refused = await call("POST", "/keys/k//release", {"target": "x"}, status=400)
    assert "no release policy" in refused["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("POST", "/keys/k", 405, "DELETE, GET, PATCH, PUT"),
        ("GET", "/keys/k/create", 405, "POST"),
        ("GET", "/rng", 405, "POST"),
        ("GET", "/keys/k/{v}/attestation", 404, None),
        ("POST", "/keys/k/{v}/sign/more", 404, None),
    ],
)
async def test_other_path_or_method_is_refused(
    world: Any, officer: Identity, method: str, path: str, status: int, allowed: str | None
) -> None:
    path = path.format(v="0" * 32)
    found, _, headers = await world.send(method, path + V, token=world.authority.mint(officer))
    assert (found, headers.get("Allow")) == (status, allowed)


READER, ENCRYPTION = "Key Vault Reader", "Key Vault Crypto Service Encryption User"
USER, OFFICER = "Key Vault Crypto User", "Key Vault Crypto Officer"
# By operation: the least privileged role, the data action, and the permission of an access policy.
REFUSED = [
    ("GET", "/keys", READER, "keys/read", "list"),
    ("GET", "/keys/k", READER, "keys/read", "get"),
    ("GET", "/keys/k/versions", READER, "keys/read", "list"),
    ("GET", "/deletedkeys", READER, "keys/read", "list"),
    ("GET", "/deletedkeys/k", READER, "keys/read", "get"),
    ("PATCH", "/keys/k", USER, "keys/update/action", "update"),
    ("POST", "/keys/k/backup", USER, "keys/backup/action", "backup"),
    ("POST", "/keys/k/create", OFFICER, "keys/create/action", "create"),
    ("PUT", "/keys/k", OFFICER, "keys/import/action", "import"),
    ("DELETE", "/keys/k", OFFICER, "keys/delete", "delete"),
    ("POST", "/keys/restore", OFFICER, "keys/restore/action", "restore"),
    ("POST", "/keys/k/rotate", OFFICER, "keys/rotate/action", "rotate"),
    ("DELETE", "/deletedkeys/k", OFFICER, "keys/purge/action", "purge"),
    ("POST", "/deletedkeys/k/recover", OFFICER, "keys/recover/action", "recover"),
    ("GET", "/keys/k/rotationpolicy", READER, "keyrotationpolicies/read", "getrotationpolicy"),
    ("PUT", "/keys/k/rotationpolicy", OFFICER, "keyrotationpolicies/write", "setrotationpolicy"),
    ("POST", "/keys/k//sign", USER, "keys/sign/action", "sign"),
    ("POST", "/keys/k//verify", USER, "keys/verify/action", "verify"),
    ("POST", "/keys/k//encrypt", USER, "keys/encrypt/action", "encrypt"),
    ("POST", "/keys/k//decrypt", USER, "keys/decrypt/action", "decrypt"),
    ("POST", "/keys/k//wrapkey", ENCRYPTION, "keys/wrap/action", "wrapkey"),
    ("POST", "/keys/k//unwrapkey", ENCRYPTION, "keys/unwrap/action", "unwrapkey"),
]


@pytest.mark.parametrize(("method", "path", "role", "action", "permission"), REFUSED)
async def test_refusal_names_the_role_that_grants_the_operation(
    world: Any, method: str, path: str, role: str, action: str, permission: str
) -> None:
    other = await world.identity("other", None)
    token = world.authority.mint(other)
    status, answer, _ = await world.send(method, path + V, token=token)
    assert (status, code(answer)) == (403, ("Forbidden", "ForbiddenByRbac"))
    message = answer["error"]["message"]
    assert f"Action: 'Microsoft.KeyVault/vaults/{action}'" in message
    assert f"Missing role: '{role}' on vault demo-vault for other." in message
    assert f"az role assignment create --role '{role}'" in message
    if "/k" in path.removeprefix("/keys"):
        assert "/vaults/demo-vault/keys/k'" in message
    await world.grant(other, role)
    status, answer, _ = await world.send(method, path + V, token=token)
    assert status != 403
    await world.vault("demo-vault", access=VaultAccess.POLICIES)
    status, answer, _ = await world.send(method, path + V, token=token)
    assert (status, code(answer)) == (403, ("Forbidden", "ForbiddenByPolicy"))
    assert f"--key-permissions {permission}`" in answer["error"]["message"]
    policy = AccessPolicy(
        object_id=other.object_id, tenant_id=other.tenant_id, document={"keys": [permission]}
    )
    await world.vault("demo-vault", access=VaultAccess.POLICIES, policies=(policy,))
    assert (await world.send(method, path + V, token=token))[0] != 403


async def test_permission_on_secrets_is_none_on_keys(world: Any) -> None:
    other = await world.identity("other", None)
    policy = AccessPolicy(
        object_id=other.object_id, tenant_id=other.tenant_id, secrets=("all", "get")
    )
    await world.vault("demo-vault", access=VaultAccess.POLICIES, policies=(policy,))
    token = world.authority.mint(other)
    assert (await world.send("GET", f"/keys/k{V}", token=token))[0] == 403
    assert (await world.send("GET", f"/secrets/k{V}", token=token))[0] == 404


async def test_keys_of_a_purged_vault_are_deleted(world: Any, call: Call) -> None:
    await create(call)
    await world.vaults.delete("demo-vault")
    await world.vaults.purge("demo-vault")
    await world.maintenance.catch_up()
    assert await world.store.vaults() == frozenset()


@pytest.mark.parametrize("version", ["7.0", "7.1", "7.6", "2025-07-01", "2026-04-01", "2027-01-01"])
async def test_every_api_version_is_served(world: Any, call: Call, version: str) -> None:
    await create(call)
    token = world.authority.mint(world.identities["officer"])
    path = f"/keys/k?api-version={version}"
    assert (await world.send("GET", path, token=token))[0] == 200


async def test_due_key_is_rotated_once_and_not_by_a_request(world: Any, call: Call) -> None:
    await create(call)
    rotate = {"trigger": {"timeAfterCreate": "P20D"}, "action": {"type": "Rotate"}}
    await call("PUT", "/keys/k/rotationpolicy", {"lifetimeActions": [rotate]})
    world.clock.now += 20 * DAY
    await asyncio.gather(*(call("GET", "/keys/k") for _ in range(5)))
    assert len((await call("GET", "/keys/k/versions"))["value"]) == 1
    await asyncio.gather(*(world.maintenance.catch_up() for _ in range(5)))
    assert len((await call("GET", "/keys/k/versions"))["value"]) == 2


async def test_rotations_at_the_same_time_are_all_done(call: Call) -> None:
    await create(call)
    rotate = {"trigger": {"timeAfterCreate": "P20D"}, "action": {"type": "Rotate"}}
    await call("PUT", "/keys/k/rotationpolicy", {"lifetimeActions": [rotate]})
    rotated = await asyncio.gather(*(call("POST", "/keys/k/rotate") for _ in range(4)))
    assert len({version(each) for each in rotated}) == 4
    assert len((await call("GET", "/keys/k/versions"))["value"]) == 5


async def test_key_that_cannot_be_read_does_not_block_other_keys(
    world: Any, call: Call, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await create(call)
    await create(call, "other")
    rotate = {"trigger": {"timeAfterCreate": "P20D"}, "action": {"type": "Rotate"}}
    await call("PUT", "/keys/k/rotationpolicy", {"lifetimeActions": [rotate]})
    corrupt(tmp_path / "directory.db", "UPDATE secret_versions SET sealed = x'00' WHERE key = 'k'")
    await world.set_time(world.clock.now + 20 * DAY)
    for _ in range(2):
        await world.maintenance.catch_up()
        await call("GET", "/keys/other")
    failures = [each for each in caplog.records if each.msg == "vault_action_failed"]
    assert len(failures) == 1
