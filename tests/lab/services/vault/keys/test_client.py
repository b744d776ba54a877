"""The released SDK of keys: what its local cryptography and the vault do must agree."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.keyvault.keys import (
    JsonWebKey,
    KeyClient,
    KeyRotationLifetimeAction,
    KeyRotationPolicy,
    KeyRotationPolicyAction,
    KeyVaultKey,
)
from azure.keyvault.keys.crypto import (
    CryptographyClient,
    EncryptionAlgorithm,
    KeyWrapAlgorithm,
    SignatureAlgorithm,
)
from joserfc.jwk import ECKey, RSAKey

from podpass.crypto import jose
from podpass.directory.model import AccessPolicy
from podpass.lab.services.vault.model import VaultAccess
from tests.lab.services.vault.test_client import VAULT_URL, run_client

FAST = {"_polling_interval": 0.01}
OF_CURVE = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "P-256K": "ES256K"}


def jwk(key: KeyVaultKey) -> Any:
    """Return the JSON Web Key, whose members the SDK does not declare."""
    return key.key


def digest_for(algorithm: str) -> bytes:
    bits = algorithm[2:5]
    return hashlib.new(f"sha{bits}", b"message").digest()


@pytest.fixture
async def run(world: Any) -> Callable[[Callable[[KeyClient], None]], Any]:
    officer = await world.identity("officer", "Key Vault Crypto Officer")
    return lambda work: run_client(world, officer, work, kind=KeyClient)


async def test_released_client_creates_lists_deletes_and_recovers(run: Any) -> None:
    def work(client: KeyClient) -> None:
        first = client.create_rsa_key("k", size=3072, tags={"a": "b"})
        second = client.create_ec_key(
            "k", curve="P-256K", expires_on=datetime(2099, 1, 1, tzinfo=UTC)
        )
        assert first.id is not None
        assert first.id.startswith(f"{VAULT_URL}keys/k/")
        read = client.get_key("k")
        assert (read.id, read.key_type, jwk(read).crv) == (second.id, "EC", "P-256K")
        old = client.get_key("k", first.properties.version)
        assert (len(jwk(old).n), old.properties.tags) == (384, {"a": "b"})
        assert old.properties.exportable is False
        assert [each.name for each in client.list_properties_of_keys()] == ["k"]
        listed = client.list_properties_of_key_versions("k")
        assert [each.version for each in listed] == [
            first.properties.version,
            second.properties.version,
        ]
        changed = client.update_key_properties("k", enabled=False, key_operations=["verify"])
        assert (changed.properties.enabled, changed.key_operations) == (False, ["verify"])
        gone = client.begin_delete_key("k", **FAST).result()
        assert gone.recovery_id == f"{VAULT_URL}deletedkeys/k"
        assert [each.name for each in client.list_deleted_keys()] == ["k"]
        with pytest.raises(ResourceNotFoundError) as missing:
            client.get_key("k")
        assert missing.value.error is not None
        assert missing.value.error.code == "KeyNotFound"
        with pytest.raises(ResourceExistsError):
            client.create_rsa_key("k")
        recovered = client.begin_recover_deleted_key("k", **FAST).result()
        assert recovered.id == second.id
        client.begin_delete_key("k", **FAST).wait()
        client.purge_deleted_key("k")
        with pytest.raises(ResourceNotFoundError):
            client.get_deleted_key("k")

    await run(work)


async def test_signatures_of_client_and_vault_agree(run: Any) -> None:
    """`verify` runs in the client; the vault verifies too, for clients that may not read the key."""

    def check(client: KeyClient, name: str, algorithm: str) -> None:
        crypto = client.get_cryptography_client(name)
        digest = digest_for(algorithm)
        signed = crypto.sign(SignatureAlgorithm(algorithm), digest)
        assert signed.key_id == client.get_key(name).id
        assert crypto.verify(SignatureAlgorithm(algorithm), digest, signed.signature).is_valid
        wrong = bytes(len(digest))
        assert not crypto.verify(SignatureAlgorithm(algorithm), wrong, signed.signature).is_valid

    def work(client: KeyClient) -> None:
        client.create_rsa_key("rsa")
        for algorithm in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"):
            check(client, "rsa", algorithm)
        for curve, algorithm in OF_CURVE.items():
            client.create_ec_key(curve, curve=curve)
            check(client, curve, algorithm)

    await run(work)


async def test_keys_of_client_decrypt_what_the_vault_encrypts(run: Any) -> None:
    def work(client: KeyClient) -> None:
        given = RSAKey.generate_key(2048).as_dict(private=True)
        numbers = {
            name: jose.b64decode(str(given[name]))
            for name in ("n", "e", "d", "p", "q", "dp", "dq", "qi")
        }
        key = JsonWebKey(
            kty="RSA", key_ops=["encrypt", "decrypt", "wrapKey", "unwrapKey", "sign"], **numbers
        )
        imported = client.import_key("k", key)
        assert jwk(imported).n == numbers["n"]
        remote = client.get_cryptography_client("k")
        local = CryptographyClient.from_jwk(
            {**numbers, "kid": imported.id, "kty": "RSA", "key_ops": jwk(imported).key_ops}
        )
        for encryption in (
            EncryptionAlgorithm.rsa1_5,
            EncryptionAlgorithm.rsa_oaep,
            EncryptionAlgorithm.rsa_oaep_256,
        ):
            made = local.encrypt(encryption, b"plain")
            assert remote.decrypt(encryption, made.ciphertext).plaintext == b"plain"
        for wrap in (
            KeyWrapAlgorithm.rsa1_5,
            KeyWrapAlgorithm.rsa_oaep,
            KeyWrapAlgorithm.rsa_oaep_256,
        ):
            wrapped = remote.wrap_key(wrap, b"k" * 32)
            assert remote.unwrap_key(wrap, wrapped.encrypted_key).key == b"k" * 32
            assert local.unwrap_key(wrap, wrapped.encrypted_key).key == b"k" * 32
        digest = digest_for("RS256")
        theirs = local.sign(SignatureAlgorithm.rs256, digest).signature
        assert remote.sign(SignatureAlgorithm.rs256, digest).signature == theirs

    await run(work)


async def test_client_without_read_uses_the_vault_for_everything(world: Any) -> None:
    """Such a client cannot get the key, so that encrypt and verify reach the vault too."""
    other = await world.identity("other", None)
    officer = await world.identity("officer", "Key Vault Crypto Officer")
    ids: list[str] = []
    await run_client(
        world,
        officer,
        lambda client: ids.append(str(client.create_rsa_key("k").id)),
        kind=KeyClient,
    )
    names = ["encrypt", "decrypt", "wrapkey", "unwrapkey", "sign", "verify"]
    policy = AccessPolicy(
        object_id=other.object_id, tenant_id=other.tenant_id, document={"keys": names}
    )
    await world.vault("demo-vault", access=VaultAccess.POLICIES, policies=(policy,))

    def work(client: KeyClient) -> None:
        crypto = client.get_cryptography_client("k")
        made = crypto.encrypt(EncryptionAlgorithm.rsa_oaep, b"plain")
        assert ids[0].startswith(f"{made.key_id}/")
        assert crypto.decrypt(EncryptionAlgorithm.rsa_oaep, made.ciphertext).plaintext == b"plain"
        wrapped = crypto.wrap_key(KeyWrapAlgorithm.rsa_oaep_256, b"cek")
        assert crypto.unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped.encrypted_key).key == b"cek"
        signed = crypto.sign(SignatureAlgorithm.ps512, digest_for("PS512"))
        for digest, expected in ((digest_for("PS512"), True), (bytes(64), False)):
            found = crypto.verify(SignatureAlgorithm.ps512, digest, signed.signature)
            assert found.is_valid is expected

    await run_client(world, other, work, kind=KeyClient)


async def test_client_gets_the_errors_of_use(run: Any) -> None:
    def work(client: KeyClient) -> None:
        client.create_rsa_key("k", key_operations=["verify", "sign"])
        crypto = client.get_cryptography_client("k")
        client.get_key("k")
        signed = crypto.sign(SignatureAlgorithm.rs256, digest_for("RS256"))
        client.update_key_properties("k", enabled=False)
        with pytest.raises(HttpResponseError, match="not allowed on a disabled key") as caught:
            crypto.sign(SignatureAlgorithm.rs256, digest_for("RS256"))
        assert caught.value.error is not None
        assert caught.value.error.code == "Forbidden"
        assert crypto.verify(
            SignatureAlgorithm.rs256, digest_for("RS256"), signed.signature
        ).is_valid

    await run(work)


async def test_client_rotates_and_backs_up(run: Any) -> None:
    def work(client: KeyClient) -> None:
        first = client.create_key("k", "EC")
        policy = KeyRotationPolicy(
            lifetime_actions=[
                KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_after_create="P2M")
            ]
        )
        assert client.get_key_rotation_policy("k").id is None
        written = client.update_key_rotation_policy("k", policy, expires_in="P1Y")
        assert (written.id, written.expires_in) == (f"{VAULT_URL}keys/k/rotationpolicy", "P1Y")
        kinds = [each.action for each in client.get_key_rotation_policy("k").lifetime_actions]
        assert kinds == [KeyRotationPolicyAction.rotate, KeyRotationPolicyAction.notify]
        rotated = client.rotate_key("k")
        assert rotated.id != first.id
        blob = client.backup_key("k")
        assert blob is not None
        with pytest.raises(ResourceExistsError):
            client.restore_key_backup(blob)
        client.begin_delete_key("k", **FAST).wait()
        client.purge_deleted_key("k")
        assert client.restore_key_backup(blob).id == rotated.id
        assert client.get_key_rotation_policy("k").expires_in == "P1Y"
        assert len(client.get_random_bytes(32)) == 32
        with pytest.raises(HttpResponseError, match="no release policy"):
            client.release_key("k", "target")

    await run(work)


async def test_imported_ec_key_signs_as_its_local_copy(run: Any) -> None:
    def work(client: KeyClient) -> None:
        given = ECKey.generate_key("P-521").as_dict(private=True)
        numbers = {name: jose.b64decode(str(given[name])) for name in ("x", "y", "d")}
        key = JsonWebKey(kty="EC", crv="P-521", key_ops=["sign", "verify"], **numbers)
        imported = client.import_key("k", key, hardware_protected=False)
        local = CryptographyClient.from_jwk(
            {
                **numbers,
                "kty": "EC",
                "crv": "P-521",
                "kid": imported.id,
                "key_ops": jwk(imported).key_ops,
            }
        )
        remote = client.get_cryptography_client("k")
        digest = digest_for("ES512")
        theirs = remote.sign(SignatureAlgorithm.es512, digest).signature
        assert local.verify(SignatureAlgorithm.es512, digest, theirs).is_valid

    await run(work)
