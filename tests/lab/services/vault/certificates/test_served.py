"""Certificates served over HTTP: what the SDK does not show."""

import asyncio
from typing import Any

from tests.lab.services.vault.certificates.conftest import BASE, POLICY, V


async def test_operation_is_accepted_and_completed_at_the_first_poll(call: Any) -> None:
    status, started, headers = await call("POST", "/certificates/c/create", POLICY)
    assert (status, started["status"], started["issuer"]) == (202, "inProgress", {"name": "Self"})
    location = headers["location"]
    request_id = started["request_id"]
    assert location == f"{BASE}/certificates/c/pending{V}&request_id={request_id}"
    assert int(headers["retry-after"]) > 0
    status, done, _ = await call("GET", location.removeprefix(BASE))
    assert (status, done["status"], done["target"]) == (200, "completed", f"{BASE}/certificates/c")
    assert done["csr"] == started["csr"]
    status, missing, _ = await call("GET", f"/certificates/c/pending{V}&request_id=other")
    assert (status, missing["error"]["code"]) == (404, "PendingCertificateNotFound")


async def test_defaults_of_the_policy_are_those_of_azure(call: Any) -> None:
    await call("POST", "/certificates/c/create", POLICY)
    _, shown, _ = await call("GET", "/certificates/c")
    policy = shown["policy"]
    assert policy["id"] == f"{BASE}/certificates/c/policy"
    assert policy["x509_props"]["validity_months"] == 12
    assert policy["secret_props"] == {"contentType": "application/x-pkcs12"}
    assert shown["pending"] == {"id": f"{BASE}/certificates/c/pending"}
    version = shown["id"].rpartition("/")[2]
    _, one, _ = await call("GET", f"/certificates/c/{version}")
    assert one == {name: one[name] for name in ("id", "kid", "sid", "cer", "x5t", "attributes")}


async def test_disabled_version_disables_its_key_and_secret(world: Any, call: Any) -> None:
    admin = await world.identity("admin", "Key Vault Administrator")
    await call("POST", "/certificates/c/create", POLICY)
    body = {"attributes": {"enabled": False, "exp": 1}}
    _, changed, _ = await call("PATCH", "/certificates/c/", body)
    assert changed["attributes"]["enabled"] is False
    # The lifetime is that of the certificate.
    assert changed["attributes"]["exp"] > 1
    token = world.authority.mint(admin)
    status, refused, _ = await world.send("GET", f"/secrets/c{V}", token=token)
    assert (status, refused["error"]["innererror"]["code"]) == (403, "SecretDisabled")
    _, key, _ = await world.send("GET", f"/keys/c{V}", token=token)
    assert key["attributes"]["enabled"] is False


async def test_rotation_policy_of_a_certificates_key_is_refused(world: Any, call: Any) -> None:
    admin = await world.identity("admin", "Key Vault Administrator")
    await call("POST", "/certificates/c/create", POLICY)
    token = world.authority.mint(admin)
    path = f"/keys/c/rotationpolicy{V}"
    body = {"lifetimeActions": [], "attributes": {"expiryTime": "P90D"}}
    status, refused, _ = await world.send("PUT", path, token=token, body=body)
    assert (status, refused["error"]["innererror"]["code"]) == (403, "KeyManagedByKeyVault")


async def test_two_creations_at_the_same_time_make_whole_versions(world: Any, call: Any) -> None:
    admin = await world.identity("admin", "Key Vault Administrator")
    await call("POST", "/certificates/c/create", POLICY)
    answers = await asyncio.gather(
        *(call("POST", "/certificates/c/create", POLICY) for _ in range(3))
    )
    assert {status for status, _, _ in answers} <= {202, 409}
    token = world.authority.mint(admin)
    versions = []
    for kind in ("certificates", "keys", "secrets"):
        _, page, _ = await world.send("GET", f"/{kind}/c/versions{V}", token=token)
        ids = [each.get("kid" if kind == "keys" else "id") for each in page["value"]]
        versions.append([each.rpartition("/")[2] for each in ids])
    assert versions[0] == versions[1] == versions[2]


async def test_refusal_names_the_role_that_grants_the_operation(world: Any) -> None:
    reader = await world.identity("reader", "Key Vault Reader")
    token = world.authority.mint(reader)
    path = f"/certificates/c/create{V}"
    status, refused, _ = await world.send("POST", path, token=token, body=POLICY)
    assert status == 403
    assert "Key Vault Certificates Officer" in refused["error"]["message"]
