"""The released SDK of certificates: one version with three views, whose key is the same."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.keyvault.certificates import CertificateClient, CertificatePolicy
from azure.keyvault.keys import KeyClient
from azure.keyvault.secrets import SecretClient
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from tests.lab.services.vault.test_client import VAULT_URL, run_client

FAST = {"_polling_interval": 0.01}


@pytest.fixture
async def run(world: Any) -> Callable[..., Any]:
    officer = await world.identity("administrator", "Key Vault Administrator")

    async def work(function: Callable[[Any], Any], kind: Any = CertificateClient) -> Any:
        return (await run_client(world, officer, function, kind=kind))[0]

    return work


def create(client: CertificateClient, name: str = "c", **how: Any) -> Any:
    begin: Any = client.begin_create_certificate
    return begin(name, policy(**how), _polling_interval=0.01).result()


def policy(**how: Any) -> CertificatePolicy:
    return CertificatePolicy(issuer_name="Self", subject="CN=www.contoso.com, O=Contoso", **how)


async def test_created_certificate_key_and_secret_are_views_of_one_version(run: Any) -> None:
    def make(client: CertificateClient) -> Any:
        return create(client, san_dns_names=["www.contoso.com"], key_usage=["digitalSignature"])

    made = await run(make)
    version = made.properties.version
    assert made.id == f"{VAULT_URL}certificates/c/{version}"
    assert made.key_id == f"{VAULT_URL}keys/c/{version}"
    assert made.secret_id == f"{VAULT_URL}secrets/c/{version}"
    leaf = x509.load_der_x509_certificate(bytes(made.cer))
    assert leaf.subject.rfc4514_string() == "CN=www.contoso.com,O=Contoso"
    key = await run(lambda client: client.get_key("c"), KeyClient)
    assert (key.properties.version, key.properties.managed) == (version, True)
    assert key.key_operations == ["sign", "verify"]
    secret = await run(lambda client: client.get_secret("c"), SecretClient)
    assert (secret.properties.version, secret.properties.content_type) == (
        version,
        "application/x-pkcs12",
    )
    assert secret.properties.key_id == made.key_id
    loaded = pkcs12.load_pkcs12(base64.b64decode(secret.value), b"")
    assert loaded.cert is not None
    assert loaded.cert.certificate == leaf
    numbers = loaded.key.public_key().public_numbers()  # type: ignore[union-attr]
    assert numbers.n == int.from_bytes(key.key.n, "big")  # type: ignore[union-attr]
    expires = [each.properties.expires_on for each in (made, key, secret)]
    assert expires == [leaf.not_valid_after_utc] * 3


async def test_pem_has_key_and_certificate_without_an_exportable_key_only_the_certificate(
    run: Any,
) -> None:
    pem = {"content_type": "application/x-pem-file"}
    await run(lambda client: create(client, **pem))
    await run(lambda client: create(client, "kept", exportable=False, key_type="RSA", **pem))
    value = (await run(lambda client: client.get_secret("c"), SecretClient)).value
    assert value.startswith("-----BEGIN PRIVATE KEY-----")
    assert value.count("-----BEGIN CERTIFICATE-----") == 1
    value = (await run(lambda client: client.get_secret("kept"), SecretClient)).value
    assert value.startswith("-----BEGIN CERTIFICATE-----")
    assert "PRIVATE" not in value


async def test_client_lists_updates_deletes_recovers_and_purges(run: Any) -> None:
    def work(client: CertificateClient) -> None:
        first = create(client, key_type="EC", key_curve_name="P-384", reuse_key=True)
        second = create(client, key_type="EC", key_curve_name="P-384", reuse_key=True)
        assert first.cer != second.cer
        keys = [
            x509.load_der_x509_certificate(bytes(each.cer)).public_key() for each in (first, second)
        ]
        assert keys[0] == keys[1]
        listed = client.list_properties_of_certificate_versions("c")
        versions = [str(each.version) for each in listed]
        assert versions == [first.properties.version, second.properties.version]
        assert [each.name for each in client.list_properties_of_certificates()] == ["c"]
        old = client.get_certificate_version("c", versions[0])
        assert old.cer == first.cer
        changed = client.update_certificate_properties("c", enabled=False, tags={"a": "b"})
        assert changed.properties is not None
        assert (changed.properties.enabled, changed.properties.tags) == (False, {"a": "b"})
        wanted = client.get_certificate_policy("c")
        assert (wanted.key_type, wanted.validity_in_months) == ("EC", 12)
        shorter = policy(validity_in_months=6)
        assert client.update_certificate_policy("c", shorter).validity_in_months == 6
        client.begin_delete_certificate("c", **FAST).wait()
        assert [each.name for each in client.list_deleted_certificates()] == ["c"]
        with pytest.raises(ResourceNotFoundError) as missing:
            client.get_certificate("c")
        assert missing.value.error is not None
        assert missing.value.error.code == "CertificateNotFound"
        recovered = client.begin_recover_deleted_certificate("c", **FAST).result()
        assert recovered.id == second.id

    await run(work)


async def test_key_and_secret_are_deleted_recovered_and_purged_with_their_certificate(
    run: Any,
) -> None:
    await run(create)
    await run(lambda client: client.begin_delete_certificate("c", **FAST).wait())
    for kind, method in ((KeyClient, "get_key"), (SecretClient, "get_secret")):
        with pytest.raises(ResourceNotFoundError):
            await run(lambda client, name=method: getattr(client, name)("c"), kind)
    await run(lambda client: client.begin_recover_deleted_certificate("c", **FAST).wait())
    await run(lambda client: client.get_key("c"), KeyClient)
    await run(lambda client: client.begin_delete_certificate("c", **FAST).wait())
    await run(lambda client: client.purge_deleted_certificate("c"))
    # The name is free again, also for a key of the caller.
    await run(lambda client: client.create_ec_key("c"), KeyClient)
    await run(lambda client: client.set_secret("c", "v"), SecretClient)


async def test_secret_is_converted_to_pem_and_names_the_previous_version(run: Any) -> None:
    first = await run(create)
    second = await run(create)
    kept = await run(lambda client: client.get_secret("c"), SecretClient)
    assert kept.properties.previous_version == first.properties.version

    def convert(client: Any) -> Any:
        return client.get_secret("c", out_content_type="application/x-pem-file")

    pem = await run(convert, SecretClient)
    assert (pem.id, pem.properties.content_type) == (kept.id, "application/x-pem-file")
    assert pem.value.startswith("-----BEGIN PRIVATE KEY-----")
    leaf = x509.load_pem_x509_certificate(pem.value.encode())
    assert leaf == x509.load_der_x509_certificate(bytes(second.cer))
    old = await run(lambda client: client.get_secret("c", first.properties.version), SecretClient)
    assert old.properties.previous_version is None
    for name, wanted in (("c", "application/json"), ("p", "application/x-pkcs12")):
        if name == "p":
            await run(lambda client: create(client, "p", content_type="application/x-pem-file"))
        with pytest.raises(HttpResponseError, match="outContentType"):
            await run(
                lambda client, name=name, wanted=wanted: client.get_secret(
                    name, out_content_type=wanted
                ),
                SecretClient,
            )
    await run(lambda client: client.set_secret("plain", "v"), SecretClient)
    plain = await run(
        lambda client: client.get_secret("plain", out_content_type="application/x-pem-file"),
        SecretClient,
    )
    assert plain.value == "v"


@pytest.mark.parametrize(
    ("kind", "change", "code"),
    [
        (SecretClient, lambda client: client.set_secret("c", "v"), "Secret"),
        (SecretClient, lambda client: client.begin_delete_secret("c"), "Secret"),
        (SecretClient, lambda client: client.backup_secret("c"), "Secret"),
        (
            SecretClient,
            lambda client: client.update_secret_properties("c", enabled=False),
            "Secret",
        ),
        (KeyClient, lambda client: client.create_ec_key("c"), "Key"),
        (KeyClient, lambda client: client.rotate_key("c"), "Key"),
        (KeyClient, lambda client: client.begin_delete_key("c"), "Key"),
        (KeyClient, lambda client: client.update_key_properties("c", enabled=False), "Key"),
    ],
)
async def test_key_and_secret_of_a_certificate_are_changed_by_the_certificate_only(
    run: Any, kind: Any, change: Callable[[Any], Any], code: str
) -> None:
    await run(create)
    with pytest.raises(HttpResponseError) as refused:
        await run(change, kind)
    assert refused.value.status_code == 403
    error = refused.value.error
    assert error is not None
    assert error.code == "Forbidden"
    assert error.innererror is not None
    assert error.innererror["code"] == f"{code}ManagedByKeyVault"


async def test_backup_is_restored_with_key_secret_and_policy(run: Any) -> None:
    made = await run(lambda client: create(client, validity_in_months=3))
    key = await run(lambda client: client.get_key("c"), KeyClient)
    secret = await run(lambda client: client.get_secret("c"), SecretClient)
    blob = await run(lambda client: client.backup_certificate("c"))
    await run(lambda client: client.begin_delete_certificate("c", **FAST).wait())
    await run(lambda client: client.purge_deleted_certificate("c"))
    restored = await run(lambda client: client.restore_certificate_backup(blob))
    assert (restored.id, restored.cer) == (made.id, made.cer)
    assert restored.policy.validity_in_months == 3
    again = await run(lambda client: client.get_key("c"), KeyClient)
    assert (again.id, again.key.n, again.properties.managed) == (key.id, key.key.n, True)
    again = await run(lambda client: client.get_secret("c"), SecretClient)
    assert again.id == secret.id


async def test_certificate_takes_over_no_secret_or_key_of_the_caller(run: Any) -> None:
    await run(lambda client: client.set_secret("a", "v"), SecretClient)
    await run(lambda client: client.create_ec_key("b"), KeyClient)
    for name in "ab":
        with pytest.raises(HttpResponseError) as refused:
            await run(lambda client, name=name: create(client, name))
        assert refused.value.status_code == 409
    assert (await run(lambda client: client.get_secret("a"), SecretClient)).value == "v"
