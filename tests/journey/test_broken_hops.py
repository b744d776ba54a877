"""Each hop fails once: the client gets the error of Entra, and the log has the cause under the request id."""

import ssl
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from podpass.crypto import jose
from tests.journey.instance import AUDIENCE, CLIENT, NO_ROLE_CLIENT, Instance

UNKNOWN = "99999999-9999-4999-8999-999999999999"


def test_pod_without_the_label_is_not_mutated(instance: Instance) -> None:
    phase, printed = instance.run_pod("no-label", "web", labels={})
    assert phase == "Failed"
    assert "ValueError" in printed or "not fully configured" in printed


def test_label_on_the_service_account_alone_has_no_effect(instance: Instance) -> None:
    instance.account(
        "labelled",
        {"azure.workload.identity/client-id": CLIENT},
        **{"azure.workload.identity/use": "true"},
    )
    phase, printed = instance.run_pod("label-on-account", "labelled", labels={})
    assert phase == "Failed"
    assert "AADSTS" not in printed


def test_service_account_without_the_annotation_gives_no_client_id(instance: Instance) -> None:
    instance.account("plain")
    phase, printed = instance.run_pod("no-annotation", "plain")
    assert phase == "Failed"
    assert "client_id" in printed


@pytest.mark.parametrize(
    ("name", "annotations", "code"),
    [
        ("unknown-client", {"client-id": UNKNOWN}, "AADSTS700016"),
        # The challenge names the vault's tenant; the SDK refuses to use another tenant than its own.
        ("wrong-tenant", {"client-id": CLIENT, "tenant-id": UNKNOWN}, "not configured to acquire"),
        ("wrong-subject", {"client-id": CLIENT}, "AADSTS700213"),
    ],
)
def test_pod_prints_the_error_code_of_its_broken_hop(
    instance: Instance, name: str, annotations: dict[str, str], code: str
) -> None:
    prefixed = {f"azure.workload.identity/{key}": value for key, value in annotations.items()}
    instance.account(name, prefixed)
    phase, printed = instance.run_pod(name, name)
    assert phase == "Failed"
    assert code in printed


def test_identity_without_a_role_gets_an_error_with_the_missing_role(instance: Instance) -> None:
    phase, printed = instance.run_pod("no-role", "web", "x", f"journey-vault={NO_ROLE_CLIENT}")
    assert phase == "Failed"
    assert "Forbidden" in printed
    assert "Key Vault Secrets User" in printed


async def test_log_contains_the_missing_role_under_the_request_id_of_the_client(
    instance: Instance,
) -> None:
    asked = {"correlation_id": str(uuid.uuid4()), "client_id": NO_ROLE_CLIENT}
    _, granted = await instance.exchange(instance.token("web"), **asked)
    cause = await _refused_by_vault(instance, "journey-vault", granted["access_token"], 403)
    assert "Key Vault Secrets User" in cause
    assert "no-role" in cause


def test_error_names_unknown_vault(instance: Instance) -> None:
    """In Azure the host name would not resolve, so no vault may respond here."""
    phase, printed = instance.run_pod("no-vault", "web", "no-such-vault")
    assert phase == "Failed"
    assert "ServiceRequestError" in printed
    assert "vault no-such-vault does not exist" in printed
    lines = (instance.data_dir / "podpass.log").read_text().splitlines()
    refused = next(line for line in lines if '"vault_unknown"' in line)
    assert "no-such-vault.vault.azure.net" in refused
    assert "vault no-such-vault does not exist" in refused


async def test_log_contains_the_unknown_vault_under_the_request_id_of_the_client(
    instance: Instance,
) -> None:
    assert "no-such-vault" in await _refused_by_vault(instance, "no-such-vault", "x", 404)


async def _refused_by_vault(instance: Instance, vault: str, token: str, status: int) -> str:
    """Send a request to a vault without the gateway; return the cause in the log."""
    correlation_id = str(uuid.uuid4())
    url = instance.status["vault"]
    headers = {
        "Host": f"{vault}.vault.localhost:{urlsplit(url).port}",
        "Authorization": f"Bearer {token}",
        "x-ms-client-request-id": correlation_id,
    }
    context = ssl.create_default_context(cafile=instance.status["ca_file"])
    where = f"{url}/secrets/greeting?api-version=7.4"
    async with (
        aiohttp.ClientSession() as session,
        session.get(where, ssl=context, headers=headers) as answer,
    ):
        assert answer.status == status, await answer.text()
    lines = instance.log_lines(correlation_id)
    assert token == "x" or token not in str(lines)
    return str(next(line["cause"] for line in lines if "cause" in line))


def _claims(instance: Instance, **changes: Any) -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": instance.status["kubernetes"]["issuer"],
        "sub": "system:serviceaccount:default:web",
        "aud": [AUDIENCE],
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        **changes,
    }


async def _refused(instance: Instance, assertion: str, code: int, **form: str) -> dict[str, Any]:
    correlation_id = str(uuid.uuid4())
    status, answer = await instance.exchange(assertion, correlation_id=correlation_id, **form)
    assert answer["error_codes"] == [code], answer
    assert answer["correlation_id"] == correlation_id
    assert status == (401 if answer["error"] == "invalid_client" else 400)
    lines = instance.log_lines(correlation_id)
    assert any(str(code) in str(line) for line in lines), "the log names the cause"
    assert assertion not in str(lines)
    return answer


async def test_an_unknown_tenant_is_refused(instance: Instance) -> None:
    await _refused(instance, instance.token("web"), 90002, tenant=UNKNOWN)


async def test_wrong_audience_is_named_in_the_error(instance: Instance) -> None:
    answer = await _refused(instance, instance.token("web", "api://other"), 700212)
    assert "api://other" in answer["error_description"]


async def test_unregistered_issuer_is_refused(instance: Instance) -> None:
    unknown_issuer = instance.issuer_key().sign(_claims(instance, iss="https://unknown.invalid/"))
    await _refused(instance, unknown_issuer, 700211)


async def test_an_expired_assertion_is_refused(instance: Instance) -> None:
    then = int(time.time()) - 7200
    expired = _claims(instance, iat=then, nbf=then, exp=then + 3600)
    await _refused(instance, instance.issuer_key().sign(expired), 700024)


async def test_unavailable_issuer_is_reported(instance: Instance) -> None:
    claims = _claims(
        instance, iss="https://issuer.invalid/", sub="system:serviceaccount:default:gone"
    )
    await _refused(instance, instance.issuer_key().sign(claims), 501661)


async def test_unpublished_key_is_refused(instance: Instance) -> None:
    key = jose.generate_rsa()
    withdrawn = jose.SigningKey(kid=jose.public_key_id(key.public_key()), key=key)
    await _refused(instance, withdrawn.sign(_claims(instance)), 7000272)


async def test_a_forged_signature_under_a_published_key_is_refused(instance: Instance) -> None:
    forged = jose.SigningKey(kid=instance.issuer_key().kid, key=jose.generate_rsa())
    await _refused(instance, forged.sign(_claims(instance)), 7000274)


async def test_a_subject_in_another_case_is_refused(instance: Instance) -> None:
    claims = _claims(instance, sub="system:serviceaccount:default:WEB")
    await _refused(instance, instance.issuer_key().sign(claims), 7002138)


async def test_an_unknown_resource_is_refused(instance: Instance) -> None:
    await _refused(
        instance, instance.token("web"), 500011, scope="https://unknown.example/.default"
    )
