"""Operations on certificates that the caller completes: merge, cancellation, deletion."""

import asyncio
import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from podpass.lab.services.vault.model import ObjectVersion
from podpass.lab.services.vault.store import VaultStore
from tests.lab.services.vault.certificates.conftest import (
    BASE,
    CA,
    CA_KEY,
    POLICY,
    UNKNOWN,
    Call,
    code,
    encode,
    sign,
)

PEM = "application/x-pem-file"
PENDING = "/certificates/c/pending"


async def start(ask: Call, name: str = "c", **more: Any) -> Any:
    return await ask("POST", f"/certificates/{name}/create", UNKNOWN | more, status=202)


async def test_certificate_of_an_unknown_issuer_is_completed_by_a_merge(ask: Call) -> None:
    started = await start(ask, tags={"a": "b"})
    assert (started["status"], started["issuer"]) == ("inProgress", {"name": "Unknown"})
    assert "Perform Merge" in started["status_details"]
    assert await ask("GET", PENDING) == started
    before = await ask("GET", "/certificates/c")
    assert before["attributes"]["enabled"] is False
    assert before["pending"] == {"id": f"{BASE}{PENDING}"}
    assert {"cer", "kid", "sid", "x5t"}.isdisjoint(before)
    leaf = sign(started["csr"])
    merged = await ask("POST", f"{PENDING}/merge", {"x5c": [encode(CA), encode(leaf)]}, status=201)
    assert (merged["id"], merged["cer"], merged["tags"]) == (before["id"], encode(leaf), {"a": "b"})
    assert merged["attributes"]["enabled"] is True
    assert merged["attributes"]["exp"] == int(leaf.not_valid_after_utc.timestamp())
    assert await ask("GET", "/certificates/c") == merged
    done = await ask("GET", PENDING)
    assert (done["status"], done["target"]) == ("completed", f"{BASE}/certificates/c")
    secret = await ask("GET", "/secrets/c")
    loaded = pkcs12.load_pkcs12(base64.b64decode(secret["value"]), b"")
    assert loaded.cert is not None
    assert [loaded.cert.certificate, *(each.certificate for each in loaded.additional_certs)] == [
        leaf,
        CA,
    ]
    assert (await ask("GET", "/keys/c"))["key"]["kid"] == merged["kid"]


async def test_merge_needs_a_certificate_of_the_pending_key(ask: Call) -> None:
    started = await start(ask)
    other = sign(started["csr"], public_key=CA_KEY.public_key())
    for chain in ([encode(CA), encode(other)], [], ["AAAA"], None, ["AAAA"] * 1000):
        refused = await ask("POST", f"{PENDING}/merge", {"x5c": chain}, status=400)
        assert code(refused) == "BadParameter"
    assert (await ask("GET", PENDING))["status"] == "inProgress"


async def test_merge_accepts_base64_that_the_sdk_for_python_encodes_again(ask: Call) -> None:
    leaf = sign((await start(ask))["csr"])
    twice = base64.b64encode(encode(leaf).encode()).decode()
    merged = await ask("POST", f"{PENDING}/merge", {"x5c": [twice]}, status=201)
    assert merged["cer"] == encode(leaf)


async def test_one_of_many_concurrent_first_creations_gets_the_operation(call: Call) -> None:
    """A second operation would replace the private key of a request that its caller has already received."""
    answers = await asyncio.gather(
        *(call("POST", "/certificates/c/create", UNKNOWN) for _ in range(4))
    )
    [request_id] = [body["request_id"] for status, body, _ in answers if status == 202]
    assert {status for status, _, _ in answers} == {202, 409}
    _, shown, _ = await call("GET", PENDING)
    assert shown["request_id"] == request_id


async def test_second_creation_or_import_waits_for_the_operation(ask: Call) -> None:
    await start(ask)
    for path, body in (("create", POLICY), ("import", {"value": "AAAA"})):
        refused = await ask("POST", f"/certificates/c/{path}", body, status=409)
        assert code(refused) == "Forbidden"
        assert "pending merge" in refused["error"]["message"]


async def test_cancelled_operation_is_shown_and_can_be_merged(ask: Call) -> None:
    started = await start(ask)
    asked = await ask("PATCH", PENDING, {"cancellation_requested": True})
    assert (asked["status"], asked["cancellation_requested"]) == ("inProgress", True)
    shown = await ask("GET", PENDING)
    assert (shown["status"], shown["cancellation_requested"]) == ("cancelled", True)
    for body in ({"cancellation_requested": True}, {"cancellation_requested": False}, {}):
        await ask("PATCH", PENDING, body, status=400)
    merged: Any = {"x5c": [encode(sign(started["csr"]))]}
    await ask("POST", f"{PENDING}/merge", merged, status=201)
    assert (await ask("GET", PENDING))["status"] == "completed"
    for method, path, body in (
        ("POST", f"{PENDING}/merge", merged),
        ("PATCH", PENDING, {"cancellation_requested": True}),
    ):
        assert code(await ask(method, path, body, status=400)) == "BadParameter"


async def test_deleted_operation_is_gone_and_frees_the_name(ask: Call) -> None:
    started = await start(ask)
    before = await ask("GET", "/certificates/c")
    assert await ask("DELETE", PENDING) == started
    for method, path, body in (
        ("GET", PENDING, None),
        ("DELETE", PENDING, None),
        ("POST", f"{PENDING}/merge", {"x5c": [encode(sign(started["csr"]))]}),
        ("GET", "/certificates/no/pending", None),
    ):
        missing = await ask(method, path, body, status=404)
        assert code(missing) in ("PendingCertificateNotFound", "CertificateNotFound")
    left = await ask("GET", "/certificates/c")
    assert left == {name: value for name, value in before.items() if name != "pending"}
    await ask("POST", "/certificates/c/create", POLICY, status=202)
    assert (await ask("GET", "/certificates/c"))["attributes"]["enabled"] is True


async def test_certificate_without_versions_is_deleted_recovered_and_purged(ask: Call) -> None:
    started = await start(ask)
    shown = await ask("GET", "/certificates/c")
    gone = await ask("DELETE", "/certificates/c")
    assert gone["recoveryId"] == f"{BASE}/deletedcertificates/c"
    assert gone | shown == gone
    assert await ask("GET", "/deletedcertificates/c") == gone
    await ask("DELETE", "/certificates/c", status=404)
    await ask("GET", "/certificates/c", status=404)
    assert await ask("POST", "/deletedcertificates/c/recover") == shown
    await ask("POST", "/deletedcertificates/c/recover", status=404)
    leaf = sign(started["csr"])
    await ask("POST", f"{PENDING}/merge", {"x5c": [encode(leaf)]}, status=201)
    await start(ask, "other")
    await ask("DELETE", "/certificates/other")
    await ask("DELETE", "/deletedcertificates/other", status=204)
    await ask("GET", "/deletedcertificates/other", status=404)
    await ask("PUT", "/secrets/other", {"value": "v"})


async def test_pending_certificate_keeps_the_names_of_its_key_and_secret(ask: Call) -> None:
    await start(ask)
    assert code(await ask("PUT", "/secrets/c", {"value": "v"}, status=403)) == "Forbidden"
    for path in ("/secrets/c", "/keys/c", "/certificates/c/" + "0" * 32):
        await ask("GET", path, status=404)
    assert (await ask("GET", "/secrets"))["value"] == []
    assert (await ask("GET", "/certificates/c/versions"))["value"] == []


async def test_certificates_without_versions_are_listed_at_request(ask: Call) -> None:
    for name in "ace":
        await ask("POST", f"/certificates/{name}/create", POLICY, status=202)
    for name in "bd":
        await start(ask, name)

    async def names(path: str) -> list[str]:
        found = []
        while path:
            page = await ask("GET", path)
            found += [each["id"].rpartition("/")[2] for each in page["value"]]
            path = (page["nextLink"] or "").removeprefix(BASE)
        return found

    query = "?api-version=7.6&maxresults=2"
    assert await names(f"/certificates{query}") == ["a", "c", "e"]
    assert await names(f"/certificates{query}&includePending=true") == ["a", "b", "c", "d", "e"]
    for name in "abc":
        await ask("DELETE", f"/certificates/{name}")
    assert await names(f"/deletedcertificates{query}") == ["a", "c"]
    assert await names(f"/deletedcertificates{query}&includePending=true") == ["a", "b", "c"]


async def test_version_that_waits_for_a_merge_does_not_hide_the_earlier_one(ask: Call) -> None:
    await ask("POST", "/certificates/c/create", POLICY, status=202)
    first = await ask("GET", "/certificates/c")
    started = await start(ask)
    shown = await ask("GET", "/certificates/c")
    assert (shown["id"], shown["cer"]) == (first["id"], first["cer"])
    await ask("POST", f"{PENDING}/merge", {"x5c": [encode(sign(started["csr"]))]}, status=201)
    assert (await ask("GET", "/certificates/c"))["id"] != first["id"]
    assert len((await ask("GET", "/keys/c/versions"))["value"]) == 2


async def test_private_key_of_an_operation_is_sealed_and_deleted_with_it(
    world: Any, ask: Call
) -> None:
    await start(ask)
    collection = f"{await _vault_key(world)}/certificates"
    stored = await world.store.find(collection, "c")
    assert "PRIVATE KEY" not in str(stored)
    assert stored.settings["pending"]["key"]
    await ask("DELETE", PENDING)
    stored = await world.store.find(collection, "c")
    assert stored.settings["pending"]["key"] is None


async def test_restored_certificate_has_no_operation(ask: Call) -> None:
    """The private key of the operation is sealed for the certificate of the backup."""
    await ask("POST", "/certificates/c/create", POLICY, status=202)
    await start(ask)
    blob = await ask("POST", "/certificates/c/backup")
    await ask("DELETE", "/certificates/c")
    await ask("DELETE", "/deletedcertificates/c", status=204)
    await ask("POST", "/certificates/restore", blob)
    missing = await ask("GET", PENDING, status=404)
    assert code(missing) == "PendingCertificateNotFound"
    await start(ask)


async def test_one_of_two_merges_at_the_same_time_completes_the_operation(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one would complete an operation that it has not read."""
    _, started, _ = await call("POST", "/certificates/c/create", UNKNOWN)
    merged = {"x5c": [encode(sign(started["csr"]))]}
    write, both = VaultStore.put, asyncio.Barrier(2)

    async def wait_and_write(*given: Any, **more: Any) -> ObjectVersion:
        await both.wait()  # both requests have read the operation
        return await write(*given, **more)

    monkeypatch.setattr(VaultStore, "put", wait_and_write)
    answers = await asyncio.gather(*(call("POST", f"{PENDING}/merge", merged) for _ in range(2)))
    assert sorted(status for status, _, _ in answers) == [201, 409]


async def _vault_key(world: Any) -> str:
    found = await world.vaults.get("demo-vault")
    return str(found.uid or found.name)


@pytest.mark.parametrize("name", ["Unknown", "unknown", None])
async def test_missing_issuer_is_unknown(ask: Call, name: str | None) -> None:
    policy: dict[str, Any] = {"x509_props": {"subject": "CN=a"}}
    if name is not None:
        policy["issuer"] = {"name": name}
    started = await ask("POST", "/certificates/c/create", {"policy": policy}, status=202)
    assert started["issuer"] == {"name": "Unknown"}


async def test_concurrent_creations_do_not_replace_a_request(call: Call, ask: Call) -> None:
    """Each creation makes a private key; the caller has sent the request of the first one to its CA."""
    answers = await asyncio.gather(
        *(call("POST", "/certificates/new/create", UNKNOWN) for _ in range(6))
    )
    assert sorted(status for status, _, _ in answers) == [202, 409, 409, 409, 409, 409]
    [created] = [body for status, body, _ in answers if status == 202]
    found = await ask("GET", "/certificates/new/pending")
    assert found["request_id"] == created["request_id"]


@pytest.mark.usefixtures("ask")
async def test_concurrent_writes_of_an_issuer_create_one_ca(world: Any) -> None:
    admin = world.authority.mint(world.identities["admin"])
    path = "/certificates/issuers/ca?api-version=7.6"
    answers = await asyncio.gather(
        *(world.send("PUT", path, token=admin, body={"provider": "podpass"}) for _ in range(4))
    )
    assert sorted(status for status, _, _ in answers) == [200, 409, 409, 409]


@pytest.mark.parametrize("is_merged", [True, False])
async def test_key_that_is_not_exportable_never_becomes_exportable(
    ask: Call, is_merged: bool
) -> None:
    """An attack: change the policy, and read the key of the earlier version in the secret of the next one."""
    key = {"kty": "EC", "exportable": False, "reuse_key": True}
    wanted = UNKNOWN if is_merged else POLICY
    policy = {**wanted["policy"], "key_props": key, "secret_props": {"contentType": PEM}}
    started = await ask("POST", "/certificates/c/create", {"policy": policy}, status=202)
    await ask("PATCH", "/certificates/c/policy", {"key_props": {**key, "exportable": True}})
    if is_merged:
        await ask("POST", f"{PENDING}/merge", {"x5c": [encode(sign(started["csr"]))]}, status=201)
        assert "PRIVATE KEY" not in (await ask("GET", "/secrets/c"))["value"]
    first = await ask("GET", "/keys/c")
    await ask(
        "POST",
        "/certificates/c/create",
        {"policy": {**policy, **POLICY["policy"], "key_props": {**key, "exportable": True}}},
        status=202,
    )
    second = await ask("GET", "/keys/c")
    assert second["key"]["x"] != first["key"]["x"]
    assert "PRIVATE KEY" in (await ask("GET", "/secrets/c"))["value"]
