"""Corrupt rows of certificates, their keys and issuers; other rows are not affected."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from podpass.crypto.x509 import build_certificate, build_name
from podpass.lab.services.vault.store import VaultStore
from tests.directory.database_faults import corrupt
from tests.lab.services.vault.certificates.conftest import BEGIN, END, UNKNOWN, Call

EC_POLICY = {
    "issuer": {"name": "Self"},
    "key_props": {"kty": "EC", "crv": "P-256"},
    "x509_props": {"subject": "CN=a"},
}
PENDING_TOO = "/certificates?api-version=7.6&includePending=true"


def names(answer: Any) -> list[str]:
    return [each.get("id", each.get("kid")).rpartition("/")[2] for each in answer["value"]]


async def import_certificate(ask: Call, name: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    made = build_certificate(subject=build_name("a"), key=key, validity=(BEGIN, END))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    text = (pem + made.public_bytes(Encoding.PEM)).decode()
    await ask("POST", f"/certificates/{name}/import", {"value": text})


@pytest.mark.parametrize(
    "value", ["{", "[]", "{}", '{"policy": 5, "x5c": 5, "jwk": 5, "provider": 5}']
)
@pytest.mark.parametrize(
    ("path", "suffix", "change"),
    [
        ("/certificates", "/certificates", "secrets SET settings"),
        ("/certificates", "/certificates", "secret_versions SET document"),
        ("/certificates/issuers", "/issuers", "secrets SET settings"),
        ("/keys", "/keys", "secret_versions SET document"),
    ],
)
async def test_corrupt_object_is_named_and_lists_continue(
    ask: Call, tmp_path: Path, path: str, suffix: str, change: str, value: str
) -> None:
    for name in ("bad", "good"):
        await ask("POST", f"/certificates/{name}/create", {"policy": EC_POLICY}, status=202)
        await ask("PUT", f"/certificates/issuers/{name}", {"provider": "other"})
    where = f"WHERE key = 'bad' AND vault LIKE '%{suffix}'"
    corrupt(tmp_path / "directory.db", f"UPDATE {change} = ? {where}", value)
    message = (await ask("GET", f"{path}/bad", status=500))["error"]["message"]
    assert f"{suffix}/bad" in message
    assert f"in table {change.partition(' ')[0]} cannot be read" in message
    assert names(await ask("GET", path)) == ["good"]
    if path == "/certificates":
        assert names(await ask("GET", PENDING_TOO)) == ["good"]


async def test_corrupt_rotation_policy_is_named(ask: Call, tmp_path: Path) -> None:
    await ask("POST", "/keys/k/create", {"kty": "EC"})
    corrupt(tmp_path / "directory.db", """UPDATE secrets SET settings = '{"rotation": {}}'""")
    message = (await ask("GET", "/keys/k/rotationpolicy", status=500))["error"]["message"]
    assert "/keys/k in table secrets cannot be read" in message


async def test_corrupt_operation_does_not_hide_other_certificates(
    ask: Call, tmp_path: Path
) -> None:
    """A short page would be the last one for a client, so the link to the next page remains."""
    for name in "abc":
        await ask("POST", f"/certificates/{name}/create", UNKNOWN, status=202)
    settings = json.dumps({"policy": {}, "created": 1, "updated": 1, "pending": {}})
    where = "WHERE key = 'b' AND vault LIKE '%/certificates'"
    corrupt(tmp_path / "directory.db", f"UPDATE secrets SET settings = ? {where}", settings)
    message = (await ask("GET", "/certificates/b/pending", status=500))["error"]["message"]
    assert "/certificates/b in table secrets cannot be read" in message
    page = await ask("GET", f"{PENDING_TOO}&maxresults=2")
    assert names(page) == ["a"]
    _, _, query = page["nextLink"].partition("?")
    assert names(await ask("GET", f"/certificates?{query}")) == ["c"]


async def test_imported_certificate_with_a_corrupt_version_does_not_hide_others(
    ask: Call, tmp_path: Path
) -> None:
    """It has neither a readable version nor an operation."""
    for name in ("bad", "good"):
        await import_certificate(ask, name)
    where = "WHERE key = 'bad' AND vault LIKE '%/certificates'"
    corrupt(tmp_path / "directory.db", f"UPDATE secret_versions SET tags = '{{' {where}")
    for path in ("/certificates", PENDING_TOO):
        assert names(await ask("GET", path)) == ["good"]


@pytest.mark.parametrize("path", ["/certificates/c", PENDING_TOO])
async def test_certificate_that_is_imported_during_the_request_is_shown_with_its_version(
    ask: Call, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """The store is read twice. Between the reads, the operation is replaced by a version."""
    await ask("POST", "/certificates/c/create", UNKNOWN, status=202)
    await ask("PATCH", "/certificates/c/pending", {"cancellation_requested": True})
    read = {name: getattr(VaultStore, name) for name in ("get", "page_states")}
    imported = False

    def importing(name: str) -> Any:
        async def run(*arguments: Any, **options: Any) -> Any:
            nonlocal imported
            found = await read[name](*arguments, **options)
            if not imported:
                imported = True
                await asyncio.create_task(import_certificate(ask, "c"))
            return found

        return run

    for name in read:
        monkeypatch.setattr(VaultStore, name, importing(name))
    answer = await ask("GET", path)
    shown = answer["value"][0] if "value" in answer else answer
    assert shown["attributes"]["enabled"] is True
    assert "x5t" in shown
