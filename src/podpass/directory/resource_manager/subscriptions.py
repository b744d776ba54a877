"""The tenant, the subscription, its locations and its preview features."""

from typing import Any

from podpass.directory.resource_manager import errors, locations, wire
from podpass.directory.resource_manager.model import (
    ManagerResponse,
    OperationContext,
    build_route,
)

_READ = "Microsoft.Resources/subscriptions/read"
_LOCATIONS = "Microsoft.Resources/subscriptions/locations/read"


def tenant_to_json(context: OperationContext) -> dict[str, Any]:
    subscription = context.subscription
    return {
        "id": f"/tenants/{subscription.tenant_id}",
        "tenantId": subscription.tenant_id,
        "countryCode": "US",
        "displayName": subscription.tenant_name,
        "domains": [subscription.domain],
        "tenantCategory": "Home",
        "defaultDomain": subscription.domain,
        "tenantType": "AAD",
    }


def to_json(context: OperationContext) -> dict[str, Any]:
    subscription = context.subscription
    return {
        "id": f"/subscriptions/{subscription.subscription_id}",
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionId": subscription.subscription_id,
        "tenantId": subscription.tenant_id,
        "displayName": subscription.subscription_name,
        "state": "Enabled",
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    }


async def _is_visible(context: OperationContext) -> bool:
    """Return whether the caller has a role in the subscription; otherwise the subscription is not visible."""
    scope, principal_id = f"/subscriptions/{context.subscription_id}", context.caller.object_id
    return bool(
        await context.directory.assignments.list(
            under=scope, above=scope, principal=principal_id, limit=1
        )
    )


async def _list_tenants(context: OperationContext) -> ManagerResponse:
    return wire.list_response([tenant_to_json(context)])


async def _list_subscriptions(context: OperationContext) -> ManagerResponse:
    shown = [to_json(context)] if await _is_visible(context) else []
    count = {"type": "Total", "value": len(shown)}
    return ManagerResponse(body={"value": shown, "count": count})


async def _get(context: OperationContext) -> ManagerResponse:
    if not await _is_visible(context):
        raise errors.authorization_failed(context.caller, _READ, context.scope)
    return ManagerResponse(body=to_json(context))


async def _list_locations(context: OperationContext) -> ManagerResponse:
    if not await _is_visible(context):
        raise errors.authorization_failed(context.caller, _LOCATIONS, context.scope)
    return wire.list_response(
        locations.to_json(context.subscription_id, one) for one in locations.REGIONS
    )


# Preview features: each one is registered, because podpass has none to enable.
# Source:  https://learn.microsoft.com/rest/api/resources/features
_FEATURE_TYPE = "Microsoft.Features/providers/features"
_FEATURE = "/subscriptions/{subscription}/providers/Microsoft.Features/providers/{namespace}/features/{name}"


async def _show_feature(context: OperationContext) -> ManagerResponse:
    body = {
        "id": context.path.removesuffix("/register"),
        "name": f"{context.params['namespace']}/{context.name}",
        "type": _FEATURE_TYPE,
        "properties": {"state": "Registered"},
    }
    return ManagerResponse(body=body)


_SUB = "/subscriptions/{subscription}"

ROUTES = (
    build_route("GET", "/tenants", "list tenants", None, _list_tenants),
    build_route("GET", "/subscriptions", "list subscriptions", None, _list_subscriptions),
    build_route("GET", _SUB, "show subscription", _READ, _get, filtered=True),
    build_route(
        "GET", f"{_SUB}/locations", "list locations", _LOCATIONS, _list_locations, filtered=True
    ),
    build_route("GET", _FEATURE, "show feature", "Microsoft.Features/features/read", _show_feature),
    build_route(
        "POST",
        f"{_FEATURE}/register",
        "register feature",
        "Microsoft.Features/providers/features/register/action",
        _show_feature,
    ),
)
