"""Directory objects of any kind, by id."""

from podpass.directory import builtin_principals
from podpass.directory.graph import applications, people, principals, targets
from podpass.directory.graph.calls import Answer, Call, Item
from podpass.directory.graph.members import unknown, wrong
from podpass.directory.graph.paths import Key
from podpass.directory.graph.refusals import missing
from podpass.directory.store.identity_queries import Condition
from podpass.guids import is_guid

MAX_IDS = 1000
_ALL = "directoryObject"


async def find(call: Call, object_id: str) -> Item | None:
    """Find an object and show it with its type; None if the tenant has none of this id."""
    user = await call.directory.users.get(object_id)
    if user is not None and user.tenant_id == call.place.tenant_id:
        return _typed("user", people.brief(people.show(user)))
    key = Key(name="id", value=object_id)
    if (found := await targets.find_principal(call, key)) is not None:
        return _typed("servicePrincipal", principals.show(found, call.place))
    if (application := await targets.find_application(call, key)) is not None:
        return _typed("application", applications.show(application, call.place))
    return None


async def get(call: Call) -> Answer:
    object_id = call.keys[0].value
    found = await find(call, object_id) if is_guid(object_id) else None
    if found is None:
        raise missing(object_id)
    return 200, {"@odata.context": f"{call.base}/$metadata#directoryObjects/$entity", **found}


async def get_by_ids(call: Call) -> Answer:
    """Show those of many ids that are in the tenant, of the kinds that are asked for."""
    for name in call.body:
        if name not in ("ids", "types") and "@" not in name:
            raise unknown(name)
    ids = call.body.get("ids")
    if not isinstance(ids, list) or not 1 <= len(ids) <= MAX_IDS or not all(map(is_guid, ids)):
        raise wrong("ids", f"a list of 1 to {MAX_IDS} GUIDs")
    types = call.body.get("types") or [_ALL]
    if not isinstance(types, list) or not all(isinstance(each, str) for each in types):
        raise wrong("types", "a list of texts")
    wanted = {each.lower() for each in types}
    every = _ALL.lower() in wanted
    there = await _find_many(call, list(dict.fromkeys(each.lower() for each in ids)))
    found = [item for item in there if every or _kind(item) in wanted]
    return 200, {
        "@odata.context": f"{call.base}/$metadata#directoryObjects",
        "value": found,
    }


async def _find_many(call: Call, ids: list[str]) -> list[Item]:
    """Find objects in the order of their ids, with a statement a kind and not one an id."""
    identities, place = call.directory.identities, call.place
    found: dict[str, Item] = {
        str(each["id"]): _typed("servicePrincipal", principals.show(each, place))
        for each in builtin_principals.principals(place.tenant_id)
    }
    by_object = Condition(field="object_id", op="in", value=tuple(ids))
    for one in await identities.page(
        place.tenant_id, principals=True, where=(by_object,), limit=MAX_IDS
    ):
        found[one.object_id] = _typed("servicePrincipal", principals.show(one, place))
    by_application = Condition(field="application_id", op="in", value=tuple(ids))
    for one in await identities.page(place.tenant_id, where=(by_application,), limit=MAX_IDS):
        found[one.application_id or ""] = _typed("application", applications.show(one, place))
    for object_id in ids:
        user = await call.directory.users.get(object_id)
        if user is not None and user.tenant_id == place.tenant_id:
            found[object_id] = _typed("user", people.brief(people.show(user)))
    return [found[object_id] for object_id in ids if object_id in found]


async def member_groups(_call: Call) -> Answer:
    """Say of which groups an object is a member: of none, since there are none."""
    return 200, {"value": []}


def _typed(kind: str, item: Item) -> Item:
    return {"@odata.type": f"#microsoft.graph.{kind}", **item}


def _kind(item: Item) -> str:
    return str(item["@odata.type"]).rpartition(".")[2].lower()
