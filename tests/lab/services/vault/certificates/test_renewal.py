"""Lifetime actions, by the clock of the instance."""

import base64
import logging
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.directory.database_faults import corrupt
from tests.lab.services.vault.certificates.conftest import UNKNOWN, Call, code, encode, sign

DAY = 24 * 3600
PENDING = "/certificates/c/pending"


def wanted(action: str = "AutoRenew", issuer: str = "Self", **trigger: int) -> Any:
    lifetime = {"trigger": trigger, "action": {"action_type": action}}
    return {
        "policy": {
            "issuer": {"name": issuer},
            "x509_props": {"subject": "CN=a"},
            **({"lifetime_actions": [lifetime]} if trigger else {}),
        },
        "tags": {"a": "b"},
    }


async def make(ask: Call, body: Any) -> Any:
    await ask("POST", "/certificates/c/create", body, status=202)
    return await ask("GET", "/certificates/c")


def due(made: Any, percentage: int) -> int:
    begins, ends = made["attributes"]["nbf"], made["attributes"]["exp"]
    return int(begins + (ends - begins) * percentage / 100)


@pytest.mark.parametrize(("trigger", "percentage"), [({}, 80), ({"lifetime_percentage": 50}, 50)])
async def test_certificate_is_renewed_at_a_percentage_of_its_lifetime(
    world: Any, ask: Call, trigger: Any, percentage: int
) -> None:
    made = await make(ask, wanted(**trigger))
    await world.set_time(due(made, percentage) - 1)
    assert await ask("GET", "/certificates/c") == made
    await world.set_time(world.clock.now + 2)
    renewed = await ask("GET", "/certificates/c")
    assert renewed["id"] != made["id"]
    assert (renewed["tags"], renewed["attributes"]["created"]) == (
        {"a": "b"},
        int(world.clock()),
    )
    assert await ask("GET", "/certificates/c") == renewed
    assert (await ask("GET", PENDING))["status"] == "completed"
    changes = [
        each for each in await world.directory.audit.list() if "certificates/create" in each.action
    ]
    assert sorted(each.actor_name for each in changes) == ["admin", "podpass"]


async def test_renewed_version_has_a_key_and_a_secret(world: Any, ask: Call) -> None:
    made = await make(ask, wanted(days_before_expiry=30))
    await world.set_time(made["attributes"]["exp"] - 30 * DAY)
    key, secret = await ask("GET", "/keys/c"), await ask("GET", "/secrets/c")
    renewed = await ask("GET", "/certificates/c")
    assert key["key"]["kid"] == renewed["kid"] != made["kid"]
    assert secret["id"] == renewed["sid"] != made["sid"]
    leaf = x509.load_der_x509_certificate(base64.b64decode(renewed["cer"]))
    assert leaf.not_valid_after_utc.timestamp() == renewed["attributes"]["exp"]
    for kind in ("certificates", "keys", "secrets"):
        assert len((await ask("GET", f"/{kind}/c/versions"))["value"]) == 2


@pytest.mark.parametrize("reuse", [True, False])
async def test_key_is_reused_if_the_policy_says_so(world: Any, ask: Call, reuse: bool) -> None:
    body = wanted(lifetime_percentage=50)
    body["policy"]["key_props"] = {"reuse_key": reuse}
    made = await make(ask, body)
    before = await ask("GET", "/keys/c")
    await world.set_time(due(made, 50) + 1)
    after = await ask("GET", "/keys/c")
    assert after["key"]["kid"] != before["key"]["kid"]
    assert (after["key"]["n"] == before["key"]["n"]) is reuse


async def test_registered_issuer_renews_and_a_deleted_one_fails_once_a_day(
    world: Any, ask: Call, caplog: pytest.LogCaptureFixture
) -> None:
    await ask("PUT", "/certificates/issuers/ca", {"provider": "podpass"})
    made = await make(ask, wanted(issuer="ca", lifetime_percentage=50))
    await world.set_time(due(made, 50) + 1)
    renewed = await ask("GET", "/certificates/c")
    assert renewed["id"] != made["id"]
    await ask("DELETE", "/certificates/issuers/ca")
    world.clock.now = due(renewed, 50) + 1
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            await world.maintenance.catch_up()
            assert (await ask("GET", "/certificates/c"))["id"] == renewed["id"]
    failures = [each for each in caplog.records if each.msg == "certificate_renewal_failed"]
    assert len(failures) == 1
    failed = await ask("GET", PENDING)
    assert (failed["status"], "does not exist" in failed["error"]["message"]) == ("failed", True)
    await ask("PUT", "/certificates/issuers/ca", {"provider": "podpass"})
    await world.set_time(world.clock.now + 86400)
    assert (await ask("GET", "/certificates/c"))["id"] != renewed["id"]


async def test_changed_policy_changes_the_time_of_the_renewal(world: Any, ask: Call) -> None:
    made = await make(ask, wanted(lifetime_percentage=90))
    policy = wanted(lifetime_percentage=20)["policy"]
    await ask("PATCH", "/certificates/c/policy", policy)
    await world.set_time(due(made, 20) + 1)
    renewed = await ask("GET", "/certificates/c")
    assert renewed["id"] != made["id"]
    body = {"policy": wanted("EmailContacts", lifetime_percentage=20)["policy"]}
    await ask("PATCH", "/certificates/c", body)
    await world.set_time(due(renewed, 99))
    assert (await ask("GET", "/certificates/c"))["id"] == renewed["id"]


async def test_contacts_are_notified_once_for_each_version(
    world: Any, ask: Call, caplog: pytest.LogCaptureFixture
) -> None:
    contacts = {"contacts": [{"email": "a@example.com"}]}
    await ask("PUT", "/certificates/contacts", contacts)
    made = await make(ask, wanted("EmailContacts", lifetime_percentage=50))
    world.clock.now = due(made, 50) + 1
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            await world.maintenance.catch_up()
            assert (await ask("GET", "/certificates/c"))["id"] == made["id"]
    [reported] = [each for each in caplog.records if each.msg == "certificate_expiry_reported"]
    assert (reported.__dict__["certificate"], reported.__dict__["contacts"]) == ("c", 1)


async def test_merged_certificate_is_not_renewed(world: Any, ask: Call) -> None:
    started = await ask("POST", "/certificates/c/create", UNKNOWN, status=202)
    body = {"x5c": [encode(sign(started["csr"]))]}
    made = await ask("POST", f"{PENDING}/merge", body, status=201)
    await world.set_time(made["attributes"]["exp"])
    assert (await ask("GET", "/certificates/c"))["id"] == made["id"]


async def test_version_that_waits_for_a_merge_delays_the_renewal(world: Any, ask: Call) -> None:
    made = await make(ask, wanted(lifetime_percentage=50))
    await ask("POST", "/certificates/c/create", UNKNOWN, status=202)
    await ask("PATCH", "/certificates/c/policy", wanted(lifetime_percentage=50)["policy"])
    await world.set_time(due(made, 50) + 1)
    assert (await ask("GET", PENDING))["status"] == "inProgress"
    assert (await ask("GET", "/certificates/c"))["id"] == made["id"]
    await ask("DELETE", PENDING)
    await world.maintenance.catch_up()
    assert (await ask("GET", "/certificates/c"))["id"] != made["id"]


async def test_deleted_certificate_is_renewed_after_its_recovery_only(
    world: Any, ask: Call
) -> None:
    made = await make(ask, wanted(lifetime_percentage=10))
    await ask("DELETE", "/certificates/c")
    await world.set_time(due(made, 10) + 1)
    assert (await ask("GET", "/deletedcertificates/c"))["id"] == made["id"]
    await ask("POST", "/deletedcertificates/c/recover")
    await world.maintenance.catch_up()
    assert (await ask("GET", "/certificates/c"))["id"] != made["id"]


async def test_restored_certificate_is_renewed(world: Any, ask: Call) -> None:
    made = await make(ask, wanted(lifetime_percentage=10))
    blob = await ask("POST", "/certificates/c/backup")
    await ask("DELETE", "/certificates/c")
    await ask("DELETE", "/deletedcertificates/c", status=204)
    await ask("POST", "/certificates/restore", blob)
    await world.set_time(due(made, 10) + 1)
    assert (await ask("GET", "/certificates/c"))["id"] != made["id"]


async def test_unreadable_certificate_does_not_block_the_vault(
    world: Any, ask: Call, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = await make(ask, wanted(lifetime_percentage=50))
    await ask("PUT", "/secrets/other", {"value": "v"})
    which = "key = 'c' AND vault LIKE '%/certificates'"
    corrupt(tmp_path / "directory.db", f"UPDATE secret_versions SET sealed = x'00' WHERE {which}")
    world.clock.now = due(made, 50) + 1
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            await world.maintenance.catch_up()
            assert (await ask("GET", "/secrets/other"))["value"] == "v"
    failures = [each for each in caplog.records if each.msg == "vault_action_failed"]
    assert len(failures) == 1


async def test_policy_with_renewal_but_without_an_issuer_is_refused(
    ask: Call,
) -> None:
    refused = await ask(
        "POST",
        "/certificates/c/create",
        wanted(issuer="Unknown", lifetime_percentage=50),
        status=400,
    )
    assert code(refused) == "BadParameter"
