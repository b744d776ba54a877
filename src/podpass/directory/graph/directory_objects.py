"""Directory objects of any type, by id."""

from podpass.directory import builtin_principals
from podpass.directory.graph import applications, lookup, permissions, principals, users
from podpass.directory.graph.errors import not_found
from podpass.directory.graph.model import GraphRequest, GraphResponse, JsonObject
from podpass.directory.graph.paths import ObjectKey
from podpass.directory.graph.properties import invalid_value, unknown_property
from podpass.directory.store.identity_queries import Condition
from podpass.guids import is_guid

MAX_IDS = 1000
_ALL = "directoryObject"


async def find(request: GraphRequest, object_id: str) -> JsonObject | None:
    """Return an object with its type; None if the tenant has no object of this id."""
    user = await request.directory.users.get(object_id)
    if user is not None and user.tenant_id == request.context.tenant_id:
        return _with_type("user", users.default_properties(users.to_json(user)))
    key = ObjectKey(name="id", value=object_id)
    if (found := await lookup.find_principal(request, key)) is not None:
        return _with_type("servicePrincipal", principals.to_json(found, request.context))
    if (application := await lookup.find_application(request, key)) is not None:
        return _with_type("application", applications.to_json(application, request.context))
    return None


async def get(request: GraphRequest) -> GraphResponse:
    object_id = request.keys[0].value
    found = await find(request, object_id) if is_guid(object_id) else None
    if found is None or (_type_name(found) == "user" and not _may_read_users(request)):
        raise not_found(object_id)
    return 200, {"@odata.context": f"{request.base}/$metadata#directoryObjects/$entity", **found}


async def get_by_ids(request: GraphRequest) -> GraphResponse:
    """Return the objects of the tenant with the given ids and of the requested types."""
    for name in request.body:
        if name not in ("ids", "types") and "@" not in name:
            raise unknown_property(name)
    ids = request.body.get("ids")
    if not isinstance(ids, list) or not 1 <= len(ids) <= MAX_IDS or not all(map(is_guid, ids)):
        raise invalid_value("ids", f"a list of 1 to {MAX_IDS} GUIDs")
    types = request.body.get("types") or [_ALL]
    if not isinstance(types, list) or not all(isinstance(each, str) for each in types):
        raise invalid_value("types", "a list of strings")
    wanted = {each.lower() for each in types}
    every = _ALL.lower() in wanted
    there = await _find_many(request, list(dict.fromkeys(each.lower() for each in ids)))
    found = [item for item in there if every or _type_name(item) in wanted]
    return 200, {"@odata.context": f"{request.base}/$metadata#directoryObjects", "value": found}


async def _find_many(request: GraphRequest, ids: list[str]) -> list[JsonObject]:
    """Return objects in the order of their ids, with one query per type instead of one per id."""
    identities, context = request.directory.identities, request.context
    found: dict[str, JsonObject] = {
        str(each["id"]): _with_type("servicePrincipal", principals.to_json(each, context))
        for each in builtin_principals.list_principals(context.tenant_id)
    }
    by_object = Condition(field="object_id", op="in", value=tuple(ids))
    for one in await identities.page(
        context.tenant_id, principals=True, where=(by_object,), limit=MAX_IDS
    ):
        found[one.object_id] = _with_type("servicePrincipal", principals.to_json(one, context))
    by_application = Condition(field="application_id", op="in", value=tuple(ids))
    for one in await identities.page(context.tenant_id, where=(by_application,), limit=MAX_IDS):
        found[one.application_id or ""] = _with_type(
            "application", applications.to_json(one, context)
        )
    for object_id in ids if _may_read_users(request) else ():
        user = await request.directory.users.get(object_id)
        if user is not None and user.tenant_id == context.tenant_id:
            found[object_id] = _with_type("user", users.default_properties(users.to_json(user)))
    return [found[object_id] for object_id in ids if object_id in found]


async def list_member_groups(_request: GraphRequest) -> GraphResponse:
    """Return the groups of an object: the list is always empty, because the directory has no groups."""
    return 200, {"value": []}


def _may_read_users(request: GraphRequest) -> bool:
    return permissions.authorize(request.caller, permissions.READ_USERS) is not None


def _with_type(kind: str, item: JsonObject) -> JsonObject:
    return {"@odata.type": f"#microsoft.graph.{kind}", **item}


def _type_name(item: JsonObject) -> str:
    return str(item["@odata.type"]).rpartition(".")[2].lower()
