"""Registered issuers, whose CA signs certificates, and the contacts of a vault."""

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from tests.lab.services.vault.certificates.conftest import BASE, Call, code, encode, sign

ISSUER = "/certificates/issuers/ca"
ADMIN = {"first_name": "John", "last_name": "Doe", "email": "a@example.com", "phone": "1"}
POLICY = {"policy": {"issuer": {"name": "ca"}, "x509_props": {"subject": "CN=www"}}}
DAY = 24 * 3600


async def register(ask: Call, name: str = "ca", provider: str = "podpass", **more: Any) -> Any:
    return await ask("PUT", f"/certificates/issuers/{name}", {"provider": provider} | more)


def chain(secret: Any) -> list[x509.Certificate]:
    found = pkcs12.load_pkcs12(base64.b64decode(secret["value"]), b"")
    assert found.cert is not None
    return [found.cert.certificate, *(each.certificate for each in found.additional_certs)]


async def test_issuer_is_shown_as_azure_shows_it(world: Any, ask: Call) -> None:
    now = int(world.clock())
    body: dict[str, Any] = {
        "credentials": {"account_id": "me", "pwd": "secret"},
        "org_details": {"admin_details": [ADMIN]},
        "attributes": {"enabled": True},
    }
    made = await register(ask, provider="Test", **body)
    assert made == {
        "id": f"{BASE}/certificates/issuers/ca",
        "provider": "Test",
        "credentials": {"account_id": "me"},
        "org_details": {"zip": 0, "admin_details": [ADMIN]},
        "attributes": {"enabled": True, "created": now, "updated": now},
    }
    assert await ask("GET", ISSUER) == made
    stored = await world.store.find(f"{(await _vault(world))}/issuers", "ca")
    assert "secret" not in str(stored), "nothing uses the password, so it is not stored"
    world.clock.now += 5
    other = {"org_details": {"admin_details": [{**ADMIN, "first_name": "Jane"}], "zip": 7}}
    changed = await ask("PATCH", ISSUER, other)
    assert changed == {
        **made,
        **other,
        "attributes": {"enabled": True, "created": now, "updated": now + 5},
    }
    assert await ask("DELETE", ISSUER) == changed
    for method in ("GET", "PATCH", "DELETE"):
        missing = await ask(method, ISSUER, {} if method == "PATCH" else None, status=404)
        assert code(missing) == "CertificateIssuerNotFound"
        assert "not found" in missing["error"]["message"]


async def _vault(world: Any) -> str:
    found = await world.vaults.get("demo-vault")
    return str(found.uid or found.name)


async def test_issuers_are_listed_in_pages(ask: Call) -> None:
    for name in ("b", "a", "create"):
        await register(ask, name, "Test")
    page = await ask("GET", "/certificates/issuers?api-version=7.6&maxresults=2")
    assert [each["id"].rpartition("/")[2] for each in page["value"]] == ["a", "b"]
    assert set(page["value"][0]) == {"id", "provider"}
    rest = await ask("GET", page["nextLink"].removeprefix(BASE))
    assert [each["id"].rpartition("/")[2] for each in rest["value"]] == ["create"]
    assert (await ask("GET", "/certificates"))["value"] == []
    assert (await ask("GET", "/secrets"))["value"] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"provider": 5},
        {"provider": "x" * 256},
        {"provider": "x", "credentials": []},
        {"provider": "x", "credentials": {"account_id": 5}},
        {"provider": "x", "org_details": {"zip": "x"}},
        {"provider": "x", "org_details": {"admin_details": [{}] * 21}},
        {"provider": "x", "org_details": {"admin_details": ["x"]}},
        {"provider": "x", "attributes": {"enabled": "x"}},
        b"[]",
    ],
)
async def test_malformed_issuer_is_refused(ask: Call, body: Any) -> None:
    assert code(await ask("PUT", ISSUER, body, status=400)) == "BadParameter"


async def test_ca_of_an_issuer_signs_and_is_in_the_chain_of_the_secret(
    world: Any, ask: Call
) -> None:
    await register(ask, provider="Podpass")
    await ask("POST", "/certificates/c/create", POLICY, status=202)
    done = await ask("GET", "/certificates/c/pending")
    assert (done["status"], done["issuer"]) == ("completed", {"name": "ca"})
    made = await ask("GET", "/certificates/c")
    leaf, root = chain(await ask("GET", "/secrets/c"))
    assert encode(leaf) == made["cer"]
    leaf.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
    # The CA stays the same for further certificates, and when the issuer is written again.
    await register(ask)
    await ask("POST", "/certificates/d/create", POLICY, status=202)
    assert chain(await ask("GET", "/secrets/d"))[1] == root
    stored = await world.store.find(f"{await _vault(world)}/issuers", "ca")
    assert "PRIVATE KEY" not in str(stored)


async def test_issuer_signs_no_ca(ask: Call) -> None:
    await register(ask)
    ca = {"subject": "CN=evil", "basic_constraints": {"ca": True}, "key_usage": ["keyCertSign"]}
    policy = {"policy": {"issuer": {"name": "ca"}, "x509_props": ca}}
    await ask("POST", "/certificates/c/create", policy, status=202)
    leaf, _ = chain(await ask("GET", "/secrets/c"))
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


async def test_missing_or_disabled_issuer_is_refused(ask: Call) -> None:
    refused = await ask("POST", "/certificates/c/create", POLICY, status=400)
    assert "az keyvault certificate issuer" in refused["error"]["message"]
    await register(ask, attributes={"enabled": False})
    refused = await ask("POST", "/certificates/c/create", POLICY, status=400)
    assert "disabled" in refused["error"]["message"]
    await ask("PATCH", ISSUER, {"attributes": {"enabled": True}})
    await ask("POST", "/certificates/c/create", POLICY, status=202)


async def test_operation_of_a_provider_without_connection_fails_and_can_be_merged(
    ask: Call,
) -> None:
    await register(ask, provider="DigiCert")
    started = await ask("POST", "/certificates/c/create", POLICY, status=202)
    assert started["status"] == "inProgress"
    failed = await ask("GET", "/certificates/c/pending")
    assert failed["status"] == "failed"
    assert "DigiCert" in failed["error"]["message"]
    assert "podpass signs" in failed["error"]["message"]
    body = {"x5c": [encode(sign(started["csr"]))]}
    merged = await ask("POST", "/certificates/c/pending/merge", body, status=201)
    assert merged["cer"] == body["x5c"][0]
    # Another creation replaces a failed operation.
    await ask("POST", "/certificates/c/create", POLICY, status=202)
    assert (await ask("GET", "/certificates/c"))["cer"] == merged["cer"]


async def test_certificate_expires_with_its_ca_and_an_expiring_ca_does_not_sign(
    world: Any, ask: Call
) -> None:
    await register(ask)
    props = {"subject": "CN=www", "validity_months": 1200}
    long = {"policy": {"issuer": {"name": "ca"}, "x509_props": props}}
    await ask("POST", "/certificates/c/create", long, status=202)
    leaf, root = chain(await ask("GET", "/secrets/c"))
    assert leaf.not_valid_after_utc == root.not_valid_after_utc
    world.clock.now = root.not_valid_after_utc.timestamp() - DAY + 1
    await ask("POST", "/certificates/d/create", POLICY, status=202)
    failed = await ask("GET", "/certificates/d/pending")
    assert (failed["status"], "expires" in failed["error"]["message"]) == ("failed", True)


async def test_contacts_are_replaced_and_deleted(ask: Call) -> None:
    path = "/certificates/contacts"
    missing = await ask("GET", path, status=404)
    assert code(missing) == "ContactsNotFound"
    contact = {"email": "a@example.com", "name": "John", "phone": "1"}
    for contacts in ([contact], [contact, {"email": "b@example.com"}]):
        made = await ask("PUT", path, {"contacts": contacts})
        assert made == {"id": f"{BASE}{path}", "contacts": contacts}
        assert await ask("GET", path) == made
    assert await ask("DELETE", path) == made
    await ask("GET", path, status=404)
    await ask("DELETE", path, status=404)


@pytest.mark.parametrize(
    "contacts", [None, [{}], [{"name": "x"}], ["x"], [{"email": "x"}] * 101, [{"email": 5}]]
)
async def test_malformed_contacts_are_refused(ask: Call, contacts: Any) -> None:
    body = {"contacts": contacts}
    assert code(await ask("PUT", "/certificates/contacts", body, status=400)) == "BadParameter"
