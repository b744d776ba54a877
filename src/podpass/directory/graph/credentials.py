"""addPassword, removePassword, addKey and removeKey of applications and service principals."""

from collections.abc import Mapping
from typing import Any

from podpass.directory.graph import certificates, identity_writer, lookup, passwords, proof_token
from podpass.directory.graph.errors import InvalidRequest
from podpass.directory.graph.model import GraphRequest, GraphResponse
from podpass.directory.graph.properties import invalid_value, unknown_property
from podpass.directory.model import Identity


async def add_password(request: GraphRequest) -> GraphResponse:
    return await _add_password(
        request, await lookup.require_application(request), of_principal=False
    )


async def add_password_of_principal(request: GraphRequest) -> GraphResponse:
    return await _add_password(request, await lookup.require_principal(request), of_principal=True)


async def remove_password(request: GraphRequest) -> GraphResponse:
    return await _remove_password(
        request, await lookup.require_application(request), of_principal=False
    )


async def remove_password_of_principal(request: GraphRequest) -> GraphResponse:
    return await _remove_password(
        request, await lookup.require_principal(request), of_principal=True
    )


async def add_key(request: GraphRequest) -> GraphResponse:
    return await _add_key(request, await lookup.require_application(request), of_principal=False)


async def add_key_of_principal(request: GraphRequest) -> GraphResponse:
    return await _add_key(request, await lookup.require_principal(request), of_principal=True)


async def remove_key(request: GraphRequest) -> GraphResponse:
    return await _remove_key(request, await lookup.require_application(request), of_principal=False)


async def remove_key_of_principal(request: GraphRequest) -> GraphResponse:
    return await _remove_key(request, await lookup.require_principal(request), of_principal=True)


async def _add_password(
    request: GraphRequest, found: Identity, *, of_principal: bool
) -> GraphResponse:
    _reject_managed_identity(found)
    _reject_other_properties(request.body, "passwordCredential")
    given = request.body.get("passwordCredential") or {}
    if not isinstance(given, dict):
        raise invalid_value("passwordCredential", "an object")
    one, text = passwords.generate(given, request.now)
    await identity_writer.update(
        request, found, lambda old: passwords.add(old, one, of_principal=of_principal)
    )
    # Only this response contains the value; it is not stored.
    return 200, _context_body(request, "passwordCredential") | passwords.to_json(one, text.reveal())


async def _remove_password(
    request: GraphRequest, found: Identity, *, of_principal: bool
) -> GraphResponse:
    _reject_other_properties(request.body, "keyId")
    key_id = request.body.get("keyId")
    await identity_writer.update(
        request, found, lambda old: passwords.remove(old, key_id, of_principal=of_principal)
    )
    return 204, None


async def _add_key(request: GraphRequest, found: Identity, *, of_principal: bool) -> GraphResponse:
    _reject_managed_identity(found)
    _reject_other_properties(request.body, "keyCredential", "passwordCredential", "proof")
    given = request.body.get("keyCredential")
    if not isinstance(given, dict):
        raise invalid_value("keyCredential", "an object")
    if request.body.get("passwordCredential") is not None:
        raise InvalidRequest(
            "passwordCredential is for keys that sign SAML tokens, which podpass does not support."
        )
    one = certificates.parse(given, "keyCredential", request.now)

    def step(old: Identity) -> Identity:
        _verify_proof(request, old, of_principal=of_principal)
        return certificates.add(old, one, of_principal=of_principal)

    await identity_writer.update(request, found, step)
    return 200, _context_body(request, "keyCredential") | certificates.to_json(one)


async def _remove_key(
    request: GraphRequest, found: Identity, *, of_principal: bool
) -> GraphResponse:
    _reject_other_properties(request.body, "keyId", "proof")
    key_id = request.body.get("keyId")

    def step(old: Identity) -> Identity:
        _verify_proof(request, old, of_principal=of_principal)
        return certificates.remove(old, key_id, of_principal=of_principal)

    await identity_writer.update(request, found, step)
    return 204, None


def _verify_proof(request: GraphRequest, old: Identity, *, of_principal: bool) -> None:
    own = old.object_id if of_principal else old.application_id
    issuers = {old.client_id, own or old.client_id}
    proof_token.verify(request.body.get("proof"), old.keys, issuers, request.now)


def _reject_managed_identity(found: Identity) -> None:
    if found.application_id is None:
        raise InvalidRequest("A managed identity cannot have secrets or certificates.")


def _context_body(request: GraphRequest, kind: str) -> dict[str, Any]:
    return {"@odata.context": f"{request.base}/$metadata#microsoft.graph.{kind}"}


def _reject_other_properties(body: Mapping[str, Any], *names: str) -> None:
    for name in body:
        if name not in names and "@" not in name:
            raise unknown_property(name)
