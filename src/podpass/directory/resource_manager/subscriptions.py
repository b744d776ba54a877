"""The tenant, the subscription and its locations."""

from typing import Any

from podpass.directory.resource_manager import locations, refusals, wire
from podpass.directory.resource_manager.model import Answer, Call, Operation, Route

_READ = "Microsoft.Resources/subscriptions/read"
_LOCATIONS = "Microsoft.Resources/subscriptions/locations/read"


def write_tenant(call: Call) -> dict[str, Any]:
    place = call.place
    return {
        "id": f"/tenants/{place.tenant_id}",
        "tenantId": place.tenant_id,
        "countryCode": "US",
        "displayName": place.tenant_name,
        "domains": [place.domain],
        "tenantCategory": "Home",
        "defaultDomain": place.domain,
        "tenantType": "AAD",
    }


def write(call: Call) -> dict[str, Any]:
    place = call.place
    return {
        "id": f"/subscriptions/{place.subscription_id}",
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionId": place.subscription_id,
        "tenantId": place.tenant_id,
        "displayName": place.subscription_name,
        "state": "Enabled",
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    }


async def _visible(call: Call) -> bool:
    """Tell whether the caller holds any role in the subscription, which is what shows it."""
    scope, who = f"/subscriptions/{call.subscription}", call.caller.object_id
    return bool(
        await call.directory.assignments.list(under=scope, above=scope, principal=who, limit=1)
    )


async def _tenants(call: Call) -> Answer:
    return wire.whole([write_tenant(call)])


async def _list(call: Call) -> Answer:
    shown = [write(call)] if await _visible(call) else []
    count = {"type": "Total", "value": len(shown)}
    return Answer(body={"value": shown, "count": count})


async def _get(call: Call) -> Answer:
    if not await _visible(call):
        raise refusals.not_authorized(call.caller, _READ, call.scope)
    return Answer(body=write(call))


async def _list_locations(call: Call) -> Answer:
    if not await _visible(call):
        raise refusals.not_authorized(call.caller, _LOCATIONS, call.scope)
    return wire.whole(locations.write(call.subscription, one) for one in locations.REGIONS)


_SUB = "/subscriptions/{subscription}"

ROUTES = (
    Route(
        method="GET",
        path="/tenants",
        operation=Operation(title="list tenants", action=None, run=_tenants),
    ),
    Route(
        method="GET",
        path="/subscriptions",
        operation=Operation(title="list subscriptions", action=None, run=_list),
    ),
    Route(
        method="GET",
        path=_SUB,
        operation=Operation(title="show subscription", action=_READ, run=_get, filtered=True),
    ),
    Route(
        method="GET",
        path=f"{_SUB}/locations",
        operation=Operation(
            title="list locations", action=_LOCATIONS, run=_list_locations, filtered=True
        ),
    ),
)
