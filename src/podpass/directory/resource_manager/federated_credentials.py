"""Federated credentials of managed identities.

Source:  https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from podpass.directory import rules
from podpass.directory.claims_expression import LANGUAGE_VERSION
from podpass.directory.errors import InvalidCredential, NotFound, TooManyCredentials, TrustNotUnique
from podpass.directory.model import FederatedCredential, Identity
from podpass.directory.resource_manager import errors, identities, locations, paging, wire
from podpass.directory.resource_manager.model import (
    ManagerResponse,
    OperationContext,
    build_route,
)

TYPE = f"{identities.TYPE}/federatedIdentityCredentials"


_EXPRESSION = "claimsMatchingExpression"
# The preview versions from this one on have expressions.
_EXPRESSIONS_SINCE = "2025-01-31"


def to_json(
    identity: Identity, credential: FederatedCredential, *, preview: bool = False
) -> dict[str, Any]:
    """Return a credential as a response body; only preview versions show an expression."""
    properties: dict[str, Any] = {
        "issuer": credential.issuer,
        "audiences": list(credential.audiences),
    }
    if not credential.expression:
        properties["subject"] = credential.subject
    elif preview:
        properties[_EXPRESSION] = {
            "value": credential.expression,
            "languageVersion": LANGUAGE_VERSION,
        }
    return {
        "id": f"{identity.resource_id}/federatedIdentityCredentials/{credential.name}",
        "name": credential.name,
        "type": TYPE,
        "properties": properties,
    }


def _has_expressions(context: OperationContext) -> bool:
    version = context.query.api_version
    return version.endswith("-preview") and version[:10] >= _EXPRESSIONS_SINCE


def parse(context: OperationContext, name: str) -> FederatedCredential:
    """Parse a credential; issuer, subject and audience are stored unchanged, byte by byte.

    Raises ManagerError.
    """
    given = wire.object_member(context.body, "properties")
    if not given:
        raise _bad_request("A federated identity credential must have 'properties'.")
    expression = _parse_expression(context, given)
    # The rules check the real maximum lengths; this limit only bounds the size of the input.
    issuer, subject = (wire.text(given, one, limit=4096) for one in ("issuer", "subject"))
    audiences = wire.text_list(given, "audiences")
    if issuer is None or audiences is None or (subject is None and not expression):
        raise _bad_request(
            "A federated identity credential needs 'issuer', 'subject' and 'audiences'; a preview version of"
            f" the API also accepts '{_EXPRESSION}' instead of 'subject'."
        )
    if len(audiences) != 1:
        raise _bad_request(
            "A federated identity credential must have exactly one audience, in most clouds"
            f" api://AzureADTokenExchange; the request has {len(audiences)}."
        )
    return FederatedCredential(
        name=name, issuer=issuer, subject=subject or "", audiences=audiences, expression=expression
    )


def _parse_expression(context: OperationContext, properties: Mapping[str, Any]) -> str:
    given = wire.object_member(properties, _EXPRESSION)
    if not given:
        return ""
    if not _has_expressions(context):
        raise _bad_request(
            f"'{_EXPRESSION}' needs a preview version of the API: {_EXPRESSIONS_SINCE}-preview or later."
        )
    if given.get("languageVersion") != LANGUAGE_VERSION:
        raise _bad_request(f"'{_EXPRESSION}.languageVersion' must be {LANGUAGE_VERSION}.")
    text = wire.text(given, "value", limit=4096)
    if not text:
        raise _bad_request(f"'{_EXPRESSION}' needs a 'value'.")
    return text


@contextmanager
def _exclusive(context: OperationContext, identity: Identity) -> Iterator[None]:
    """Lock the credentials of an identity against concurrent writes, as Azure does.

    Raises ManagerError for the second writer.
    """
    key = (identity.resource_id or "").lower()
    if not context.operations.try_lock(key):
        raise errors.conflict(
            "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity",
            f"Another federated identity credential of the managed identity '{key}' is being written. Write"
            " the credentials one after the other.",
        )
    try:
        yield
    finally:
        context.operations.unlock(key)


async def _require_parent(context: OperationContext) -> Identity:
    found = await identities.find(context, context.params["identity"])
    if found is None:
        raise errors.not_found(
            "ParentResourceNotFound",
            f"There is no managed identity '{context.params['identity']}' in resource group '{context.group}'"
            " for the federated identity credential.",
        )
    return found


def _find_credential(identity: Identity, name: str) -> FederatedCredential | None:
    fitting = (one for one in identity.credentials if one.name.lower() == name.lower())
    return next(fitting, None)


async def _put(context: OperationContext) -> ManagerResponse:
    identity = await _require_parent(context)
    # Reject an invalid name before the body is parsed, as Azure does.
    probe = FederatedCredential(
        name=context.name, issuer="https://x", subject="x", audiences=("x",)
    )
    for fault in rules.credential_faults(probe):
        raise _bad_request(f"The federated identity credential's name is invalid: {fault.message}.")
    require_region(identity)
    old = _find_credential(identity, context.name)
    new = parse(context, old.name if old else context.name)
    with _exclusive(context, identity):
        await asyncio.sleep(context.subscription.write_seconds)
        await _write(context, identity, new)
    shown = to_json(identity, new, preview=_has_expressions(context))
    return ManagerResponse(status=200 if old else 201, body=shown)


def require_region(identity: Identity) -> None:
    """Reject an identity of a region without federated credentials. Raises ManagerError, MethodNotAllowed."""
    if identity.location in locations.WITHOUT_FEDERATION:
        raise errors.ManagerError(
            405,
            "MethodNotAllowed",
            f"Managed identities in '{identity.location}' cannot have federated identity credentials. Use an"
            " identity in another region.",
        )


async def _write(context: OperationContext, identity: Identity, new: FederatedCredential) -> None:
    try:
        await context.directory.identities.put_credential(
            identity.tenant_id, identity.client_id, new
        )
    except TrustNotUnique as exc:
        # The error names both credentials with this trust; the other credential is the one that this request
        # does not write.
        [other] = {exc.facts["name"], exc.facts["other"]} - {new.name}
        raise _bad_request(
            "Another federated identity credential of this managed identity has this issuer and subject:"
            f" '{other}'."
        ) from exc
    except (InvalidCredential, TooManyCredentials) as exc:
        raise _bad_request(f"{exc.message[:1].upper()}{exc.message[1:]}.") from exc
    except NotFound as exc:
        raise errors.not_found(
            "ParentResourceNotFound", "The managed identity was deleted during the request."
        ) from exc


async def _get(context: OperationContext) -> ManagerResponse:
    identity = await identities.require(context, context.params["identity"])
    credential = _find_credential(identity, context.name)
    if credential is None:
        raise errors.not_found(
            "NotFound",
            f"The managed identity '{identity.name}' has no federated identity credential '{context.name}'.",
        )
    return ManagerResponse(body=to_json(identity, credential, preview=_has_expressions(context)))


async def _delete(context: OperationContext) -> ManagerResponse:
    identity = await _require_parent(context)
    old = _find_credential(identity, context.name)
    if old is None:
        return ManagerResponse(status=204)
    with _exclusive(context, identity):
        await asyncio.sleep(context.subscription.write_seconds)
        await context.directory.identities.delete_credential(
            identity.tenant_id, identity.client_id, old.name
        )
    return ManagerResponse(status=200)


async def _list(context: OperationContext) -> ManagerResponse:
    context.query.filter.require_known(frozenset())
    identity = await identities.require(context, context.params["identity"])
    credentials = sorted(identity.credentials, key=lambda one: one.name)

    async def fetch(after: str | None, limit: int) -> list[FederatedCredential]:
        return [one for one in credentials if after is None or one.name > after][:limit]

    found = await paging.collect_page(context, fetch, lambda one: one.name)
    preview = _has_expressions(context)
    return wire.page_response(context, found, lambda one: to_json(identity, one, preview=preview))


def _bad_request(message: str) -> errors.ManagerError:
    return errors.bad_request("BadRequest", message)


_ALL = (
    "/subscriptions/{subscription}/resourceGroups/{group}/providers/"
    f"{identities.TYPE}/{{identity}}/federatedIdentityCredentials"
)
_ONE = f"{_ALL}/{{name}}"

ROUTES = (
    build_route("GET", _ALL, "list credentials", f"{TYPE}/read", _list),
    build_route("GET", _ONE, "show credential", f"{TYPE}/read", _get),
    build_route("PUT", _ONE, "write credential", f"{TYPE}/write", _put, reads_body=True),
    build_route("DELETE", _ONE, "delete credential", f"{TYPE}/delete", _delete),
)
