"""Users, the organization and its domain. Groups do not exist, so their collections are empty."""

import asyncio
import re
import uuid
from dataclasses import replace

from podpass import names
from podpass.directory import errors
from podpass.directory.graph import paging, wire
from podpass.directory.graph.errors import AccessDenied, InvalidRequest, QuotaExceeded, not_found
from podpass.directory.graph.filters import FilterSchema
from podpass.directory.graph.model import GraphRequest, GraphResponse, JsonObject
from podpass.directory.graph.properties import (
    invalid_value,
    missing_property,
    object_of,
    one_of,
    parse_properties,
    text,
)
from podpass.directory.model import User
from podpass.guids import is_guid

# An instance has few users: its administrator and those in the seed.
MAX_USERS = 999
_USERS = FilterSchema(
    name="user",
    scanned=frozenset(
        {
            "id",
            "userPrincipalName",
            "displayName",
            "mail",
            "mailNickname",
            "accountEnabled",
            "userType",
        }
    ),
)
_GROUPS = FilterSchema(
    name="group",
    scanned=frozenset({"id", "displayName", "mailNickname", "securityEnabled", "mailEnabled"}),
    collections=frozenset({"groupTypes"}),
)
_DOMAINS = FilterSchema(name="domain", scanned=frozenset({"id"}))
_ORGANIZATION = FilterSchema(name="organization", scanned=frozenset({"id"}))
# A user is always enabled, and keeps the given password: podpass has no page to change it.
_WRITABLE = {
    "accountEnabled": one_of(True),
    "displayName": text(256, least=1),
    "mailNickname": text(64, least=1),
    "passwordProfile": object_of(
        {
            "password": text(256, least=8),
            "forceChangePasswordNextSignIn": one_of(False),
            "forceChangePasswordNextSignInWithMfa": one_of(False),
        }
    ),
    "userPrincipalName": text(113, least=1),
}
# Three of these kinds of characters must be in a password, as in Entra.
_KINDS_OF_CHARACTERS = (r"[a-z]", r"[A-Z]", r"[0-9]", r"[^A-Za-z0-9]")
_MIN_KINDS = 3
# The properties that Graph returns without `$select`.
_DEFAULT_PROPERTIES = (
    "businessPhones",
    "displayName",
    "givenName",
    "jobTitle",
    "mail",
    "mobilePhone",
    "officeLocation",
    "preferredLanguage",
    "surname",
    "userPrincipalName",
    "id",
)


def to_json(user: User) -> JsonObject:
    """Return a user with all properties, including those that Graph returns only for `$select`."""
    return {
        "businessPhones": [],
        "displayName": user.display_name or user.name.partition("@")[0],
        "givenName": None,
        "jobTitle": None,
        "mail": None,
        "mobilePhone": None,
        "officeLocation": None,
        "preferredLanguage": None,
        "surname": None,
        "userPrincipalName": user.name,
        "id": user.id,
        "accountEnabled": True,
        "createdDateTime": wire.format_time(user.created),
        "mailNickname": user.name.partition("@")[0],
        "userType": "Member",
        "onPremisesImmutableId": None,
        "onPremisesSyncEnabled": None,
        "usageLocation": None,
        "department": None,
        "companyName": None,
    }


def default_properties(item: JsonObject) -> JsonObject:
    """Return the properties of a user that Graph returns without `$select`."""
    return {name: item[name] for name in _DEFAULT_PROPERTIES}


async def get_signed_in_user(request: GraphRequest) -> GraphResponse:
    found = await request.directory.users.get(request.caller.object_id)
    if found is None:
        raise not_found(request.caller.object_id)
    return _respond(request, found)


async def get_userinfo(request: GraphRequest) -> GraphResponse:
    """Return the claims of the signed-in user (OpenID Connect Core, section 5.3).

    `sub` equals that of the client's ID token. A user of this directory has neither first nor last name, and
    its name is its email address.
    """
    caller = request.caller
    found = await request.directory.users.get(caller.object_id)
    if found is None:
        raise not_found(caller.object_id)
    claims: JsonObject = {
        "sub": found.pairwise_subject(caller.app_id),
        "picture": f"https://{names.GRAPH_HOST}/v1.0/me/photo/$value",
    }
    if "profile" in caller.scopes:
        claims["name"] = found.display_name or found.name
    if "email" in caller.scopes:
        claims["email"] = found.name
    return 200, claims


async def list_users(request: GraphRequest) -> GraphResponse:
    found = await request.directory.users.list(request.context.tenant_id, limit=MAX_USERS)
    answer = paging.list_items(request, [to_json(user) for user in found], _USERS, "users")
    if not request.options.select and isinstance(answer[1], dict):
        answer[1]["value"] = [default_properties(item) for item in answer[1]["value"]]
    return answer


async def create_user(request: GraphRequest) -> GraphResponse:
    """Create a user who can sign in at once with the given password. Raises GraphError."""
    given = parse_properties(request.body, _WRITABLE, frozenset())
    for name in _WRITABLE.keys() - {"mailNickname"}:
        if name not in given:
            raise missing_property(name)
    name, context, users = given["userPrincipalName"], request.context, request.directory.users
    if name.partition("@")[2].lower() != context.domain:
        raise invalid_value("userPrincipalName", f"a name in the domain {context.domain}")
    _check_nickname(given, name)
    password = _parse_password(given)
    if len(await users.list(context.tenant_id, limit=MAX_USERS)) == MAX_USERS:
        raise QuotaExceeded(f"The tenant has {MAX_USERS} users, the maximum.")
    user = User(
        id=str(uuid.uuid4()),
        tenant_id=context.tenant_id,
        name=name,
        display_name=given["displayName"],
        password=await asyncio.to_thread(context.hash_password, password),
        created=request.now,
    )
    try:
        await users.put(user)
    except errors.Conflict as exc:
        raise InvalidRequest(
            f"The user {name} exists already.", conflict="userPrincipalName"
        ) from exc
    except errors.InvalidValue as exc:
        raise invalid_value("userPrincipalName", "a valid name of a user") from exc
    item = default_properties(to_json(user))
    return paging.object_response(request, item, "user", "users", status=201)


def _check_nickname(given: JsonObject, name: str) -> None:
    local_part = name.partition("@")[0]
    if given.get("mailNickname", local_part) != local_part:
        raise invalid_value("mailNickname", "the part of userPrincipalName before the @")


def _parse_password(given: JsonObject) -> str:
    password = str(given["passwordProfile"].get("password", ""))
    if sum(bool(re.search(each, password)) for each in _KINDS_OF_CHARACTERS) < _MIN_KINDS:
        raise invalid_value(
            "passwordProfile.password",
            "text of 8 to 256 characters with three of: lower case, upper case, digits, symbols",
        )
    return password


async def update_user(request: GraphRequest) -> GraphResponse:
    """Change the display name or the password of a user; a new password ends its sessions."""
    found = await _find(request)
    current = to_json(found)
    read_only = frozenset(current) - _WRITABLE.keys() | {"userPrincipalName"}
    given = parse_properties(request.body, _WRITABLE, read_only, current)
    _check_nickname(given, found.name)
    changes = {"display_name": given["displayName"]} if "displayName" in given else {}
    if "passwordProfile" in given:
        if not request.caller.is_user:
            # Otherwise an application could sign in as every user of the tenant.
            raise AccessDenied(
                "Insufficient privileges: only a signed-in administrator can set the password of a user."
            )
        _require_no_administrator(request, found)
        password = _parse_password(given)
        changes["password"] = await asyncio.to_thread(request.context.hash_password, password)
    # Read the user again after the slow hash: a user who was deleted during it must not be created again.
    await request.directory.users.put(replace(await _find(request), **changes))
    return 204, None


async def delete_user(request: GraphRequest) -> GraphResponse:
    """Delete a user, who can no longer sign in; access tokens stay valid until they expire."""
    found = await _find(request)
    _require_no_administrator(request, found)
    await request.directory.users.delete(found.id)
    return 204, None


def _require_no_administrator(request: GraphRequest, found: User) -> None:
    # An application that may write users must not lock out an administrator, nor sign in as one.
    if found.id in request.context.administrators:
        raise AccessDenied(
            f"Insufficient privileges: {found.name} is an administrator of this instance. The settings of"
            " the instance name the administrators and set their passwords."
        )


async def get_user(request: GraphRequest) -> GraphResponse:
    return _respond(request, await _find(request))


async def _find(request: GraphRequest) -> User:
    name = request.keys[0].value
    if is_guid(name):
        found = await request.directory.users.get(name)
    else:
        found = await request.directory.users.find(request.context.tenant_id, name)
    if found is None or found.tenant_id != request.context.tenant_id:
        raise not_found(name)
    return found


def _respond(request: GraphRequest, user: User) -> GraphResponse:
    item = to_json(user)
    return paging.object_response(
        request, item if request.options.select else default_properties(item), "user", "users"
    )


async def list_organizations(request: GraphRequest) -> GraphResponse:
    return paging.list_items(
        request, [await _organization_to_json(request)], _ORGANIZATION, "organization"
    )


async def get_organization(request: GraphRequest) -> GraphResponse:
    if request.keys[0].value.lower() != request.context.tenant_id:
        raise not_found(request.keys[0].value)
    return paging.object_response(
        request, await _organization_to_json(request), "organization", "organization"
    )


async def _organization_to_json(request: GraphRequest) -> JsonObject:
    tenant = await request.directory.find_tenant(request.context.tenant_id)
    name = tenant.display_name if tenant and tenant.display_name else request.context.domain
    domain = {
        "capabilities": "Email, OfficeCommunicationsOnline",
        "isDefault": True,
        "isInitial": True,
        "name": request.context.domain,
        "type": "Managed",
    }
    return {
        "id": request.context.tenant_id,
        "displayName": name,
        "tenantType": "AAD",
        "countryLetterCode": None,
        "createdDateTime": None,
        "deletedDateTime": None,
        "verifiedDomains": [domain],
        "assignedPlans": [],
        "businessPhones": [],
        "technicalNotificationMails": [],
        "onPremisesSyncEnabled": None,
        "preferredLanguage": None,
    }


async def list_domains(request: GraphRequest) -> GraphResponse:
    return paging.list_items(request, [_domain_to_json(request)], _DOMAINS, "domains")


async def get_domain(request: GraphRequest) -> GraphResponse:
    if request.keys[0].value.lower() != request.context.domain:
        raise not_found(request.keys[0].value)
    return paging.object_response(request, _domain_to_json(request), "domain", "domains")


def _domain_to_json(request: GraphRequest) -> JsonObject:
    return {
        "id": request.context.domain,
        "authenticationType": "Managed",
        "isAdminManaged": True,
        "isDefault": True,
        "isInitial": True,
        "isRoot": True,
        "isVerified": True,
        "supportedServices": [],
    }


async def list_groups(request: GraphRequest) -> GraphResponse:
    return paging.list_items(request, [], _GROUPS, "groups")


async def respond_not_found(request: GraphRequest) -> GraphResponse:
    """Respond 404, for an object of a collection that is always empty."""
    raise not_found(request.keys[-1].value)


async def list_nothing(request: GraphRequest) -> GraphResponse:
    """Return an empty list, for memberships and deleted items."""
    return paging.list_items(request, [], FilterSchema(name="directoryObject"), "directoryObjects")
