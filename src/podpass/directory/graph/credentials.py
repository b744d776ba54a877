"""addPassword, removePassword, addKey, removeKey: of applications and of service principals."""

from collections.abc import Mapping
from typing import Any

from podpass.directory.graph import certificates, passwords, proof, targets, writing
from podpass.directory.graph.calls import Answer, Call
from podpass.directory.graph.members import unknown, wrong
from podpass.directory.graph.refusals import BadRequest
from podpass.directory.model import Identity


async def add_password(call: Call) -> Answer:
    return await _add_password(call, await targets.application(call), of_principal=False)


async def add_password_of_principal(call: Call) -> Answer:
    return await _add_password(call, await targets.principal(call), of_principal=True)


async def remove_password(call: Call) -> Answer:
    return await _remove_password(call, await targets.application(call), of_principal=False)


async def remove_password_of_principal(call: Call) -> Answer:
    return await _remove_password(call, await targets.principal(call), of_principal=True)


async def add_key(call: Call) -> Answer:
    return await _add_key(call, await targets.application(call), of_principal=False)


async def add_key_of_principal(call: Call) -> Answer:
    return await _add_key(call, await targets.principal(call), of_principal=True)


async def remove_key(call: Call) -> Answer:
    return await _remove_key(call, await targets.application(call), of_principal=False)


async def remove_key_of_principal(call: Call) -> Answer:
    return await _remove_key(call, await targets.principal(call), of_principal=True)


async def _add_password(call: Call, found: Identity, *, of_principal: bool) -> Answer:
    _refuse_managed(found)
    _only(call.body, "passwordCredential")
    given = call.body.get("passwordCredential") or {}
    if not isinstance(given, dict):
        raise wrong("passwordCredential", "an object")
    one, text = passwords.make(given, call.now)
    await writing.change(
        call, found, lambda old: passwords.added(old, one, of_principal=of_principal)
    )
    # The one answer that holds the text: it is kept nowhere.
    return 200, _typed(call, "passwordCredential") | passwords.show(one, text.reveal())


async def _remove_password(call: Call, found: Identity, *, of_principal: bool) -> Answer:
    _only(call.body, "keyId")
    key_id = call.body.get("keyId")
    await writing.change(
        call, found, lambda old: passwords.removed(old, key_id, of_principal=of_principal)
    )
    return 204, None


async def _add_key(call: Call, found: Identity, *, of_principal: bool) -> Answer:
    _refuse_managed(found)
    _only(call.body, "keyCredential", "passwordCredential", "proof")
    given = call.body.get("keyCredential")
    if not isinstance(given, dict):
        raise wrong("keyCredential", "an object")
    if call.body.get("passwordCredential") is not None:
        raise BadRequest("passwordCredential goes with keys that sign SAML tokens: not in podpass.")
    one = certificates.read(given, "keyCredential", call.now)

    def step(old: Identity) -> Identity:
        _check_proof(call, old, of_principal=of_principal)
        return certificates.added(old, one, of_principal=of_principal)

    await writing.change(call, found, step)
    return 200, _typed(call, "keyCredential") | certificates.show(one)


async def _remove_key(call: Call, found: Identity, *, of_principal: bool) -> Answer:
    _only(call.body, "keyId", "proof")
    key_id = call.body.get("keyId")

    def step(old: Identity) -> Identity:
        _check_proof(call, old, of_principal=of_principal)
        return certificates.removed(old, key_id, of_principal=of_principal)

    await writing.change(call, found, step)
    return 204, None


def _check_proof(call: Call, old: Identity, *, of_principal: bool) -> None:
    own = old.object_id if of_principal else old.application_id
    issuers = {old.client_id, own or old.client_id}
    proof.check(call.body.get("proof"), old.keys, issuers, call.now)


def _refuse_managed(found: Identity) -> None:
    if found.application_id is None:
        raise BadRequest("A managed identity holds no secrets of its own.")


def _typed(call: Call, kind: str) -> dict[str, Any]:
    return {"@odata.context": f"{call.base}/$metadata#microsoft.graph.{kind}"}


def _only(body: Mapping[str, Any], *names: str) -> None:
    for name in body:
        if name not in names and "@" not in name:
            raise unknown(name)
