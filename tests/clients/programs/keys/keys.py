"""Use every operation on keys with the released client: VAULT."""

import hashlib
import sys
from importlib.metadata import version

from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.keyvault.keys import KeyClient, KeyRotationLifetimeAction, KeyRotationPolicy
from azure.keyvault.keys.crypto import EncryptionAlgorithm, KeyWrapAlgorithm, SignatureAlgorithm

client = KeyClient(f"https://{sys.argv[1]}.vault.azure.net", DefaultAzureCredential())
name = f"python-{version('azure-keyvault-keys').replace('.', '-')}"

for curve, algorithm in {
    "P-256": "ES256",
    "P-384": "ES384",
    "P-521": "ES512",
    "P-256K": "ES256K",
}.items():
    client.create_ec_key(f"{name}-ec", curve=curve)
    crypto = client.get_cryptography_client(f"{name}-ec")
    digest = hashlib.new(f"sha{algorithm[2:5]}", b"message").digest()
    signed = crypto.sign(SignatureAlgorithm(algorithm), digest)
    assert crypto.verify(SignatureAlgorithm(algorithm), digest, signed.signature).is_valid

first = client.create_rsa_key(name, size=2048, tags={"a": "b"})
crypto = client.get_cryptography_client(name)
for algorithm in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"):
    digest = hashlib.new(f"sha{algorithm[2:]}", b"message").digest()
    signed = crypto.sign(SignatureAlgorithm(algorithm), digest)
    assert crypto.verify(SignatureAlgorithm(algorithm), digest, signed.signature).is_valid
for algorithm in ("RSA1_5", "RSA-OAEP", "RSA-OAEP-256"):
    encrypted = crypto.encrypt(EncryptionAlgorithm(algorithm), b"plain")
    assert (
        crypto.decrypt(EncryptionAlgorithm(algorithm), encrypted.ciphertext).plaintext == b"plain"
    )
    wrapped = crypto.wrap_key(KeyWrapAlgorithm(algorithm), b"k" * 32)
    assert crypto.unwrap_key(KeyWrapAlgorithm(algorithm), wrapped.encrypted_key).key == b"k" * 32

action = KeyRotationLifetimeAction("Rotate", time_after_create="P2M")
policy = client.update_key_rotation_policy(
    name, KeyRotationPolicy(lifetime_actions=[action]), expires_in="P1Y"
)
assert policy.expires_in == "P1Y"
assert client.rotate_key(name).id != first.id
assert len(list(client.list_properties_of_key_versions(name))) == 2
blob = client.backup_key(name)
assert client.begin_delete_key(name).result().recovery_id
client.begin_recover_deleted_key(name).wait()
client.begin_delete_key(name).wait()
client.purge_deleted_key(name)
assert client.restore_key_backup(blob).properties.tags == {"a": "b"}
assert client.update_key_properties(name, enabled=False).properties.enabled is False
try:
    client.get_cryptography_client(name).sign(SignatureAlgorithm.rs256, bytes(32))
except HttpResponseError as exc:
    assert exc.status_code == 403, exc
    assert "disabled key" in str(exc), exc
else:
    raise AssertionError("a disabled key signed")
print("passed")
