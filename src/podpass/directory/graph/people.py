"""Users, the one who is signed in, the organization, its domain; groups, of which there are none."""

from podpass.directory.graph import paging, wire
from podpass.directory.graph.calls import Answer, Call, Item
from podpass.directory.graph.filters import Noun
from podpass.directory.graph.refusals import missing
from podpass.directory.model import User
from podpass.guids import is_guid

# The people of an instance are few: its admin, and whom a seed names.
MAX_USERS = 999
_USERS = Noun(
    name="user",
    looked_at=frozenset(
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
_GROUPS = Noun(
    name="group",
    looked_at=frozenset({"id", "displayName", "mailNickname", "securityEnabled", "mailEnabled"}),
    collections=frozenset({"groupTypes"}),
)
_DOMAINS = Noun(name="domain", looked_at=frozenset({"id"}))
_ORGANIZATION = Noun(name="organization", looked_at=frozenset({"id"}))
# What Graph shows of a user unless more is asked for.
_SHOWN = (
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


def show(user: User) -> Item:
    """Show a user as Graph does, with what it shows only on demand."""
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
        "createdDateTime": wire.time(user.created),
        "mailNickname": user.name.partition("@")[0],
        "userType": "Member",
        "onPremisesImmutableId": None,
        "onPremisesSyncEnabled": None,
        "usageLocation": None,
        "department": None,
        "companyName": None,
    }


def brief(item: Item) -> Item:
    """Leave of a user what Graph shows without being asked."""
    return {name: item[name] for name in _SHOWN}


async def me(call: Call) -> Answer:
    found = await call.directory.users.get(call.caller.object_id)
    if found is None:
        raise missing(call.caller.object_id)
    return _user(call, found)


async def list_users(call: Call) -> Answer:
    users = await call.directory.users.list(call.place.tenant_id, limit=MAX_USERS)
    answer = paging.listed(call, [show(user) for user in users], _USERS, "users")
    if not call.options.select and isinstance(answer[1], dict):
        answer[1]["value"] = [brief(item) for item in answer[1]["value"]]
    return answer


async def get_user(call: Call) -> Answer:
    name = call.keys[0].value
    if is_guid(name):
        found = await call.directory.users.get(name)
    else:
        found = await call.directory.users.find(call.place.tenant_id, name)
    if found is None or found.tenant_id != call.place.tenant_id:
        raise missing(name)
    return _user(call, found)


def _user(call: Call, user: User) -> Answer:
    item = show(user)
    return paging.one(call, item if call.options.select else brief(item), "user", "users")


async def organization(call: Call) -> Answer:
    return paging.listed(call, [await _organization(call)], _ORGANIZATION, "organization")


async def get_organization(call: Call) -> Answer:
    if call.keys[0].value.lower() != call.place.tenant_id:
        raise missing(call.keys[0].value)
    return paging.one(call, await _organization(call), "organization", "organization")


async def _organization(call: Call) -> Item:
    tenant = await call.directory.find_tenant(call.place.tenant_id)
    name = tenant.display_name if tenant and tenant.display_name else call.place.domain
    domain = {
        "capabilities": "Email, OfficeCommunicationsOnline",
        "isDefault": True,
        "isInitial": True,
        "name": call.place.domain,
        "type": "Managed",
    }
    return {
        "id": call.place.tenant_id,
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


async def domains(call: Call) -> Answer:
    return paging.listed(call, [_domain(call)], _DOMAINS, "domains")


async def get_domain(call: Call) -> Answer:
    if call.keys[0].value.lower() != call.place.domain:
        raise missing(call.keys[0].value)
    return paging.one(call, _domain(call), "domain", "domains")


def _domain(call: Call) -> Item:
    return {
        "id": call.place.domain,
        "authenticationType": "Managed",
        "isAdminManaged": True,
        "isDefault": True,
        "isInitial": True,
        "isRoot": True,
        "isVerified": True,
        "supportedServices": [],
    }


async def groups(call: Call) -> Answer:
    return paging.listed(call, [], _GROUPS, "groups")


async def no_such(call: Call) -> Answer:
    """Answer for a collection in which podpass has nothing."""
    raise missing(call.keys[-1].value)


async def nothing(call: Call) -> Answer:
    """List nothing: memberships, deleted items."""
    return paging.listed(call, [], Noun(name="directoryObject"), "directoryObjects")
