"""Private DNS zones and their links to virtual networks. No resolver answers for their records.

Source:  https://learn.microsoft.com/rest/api/dns/privatedns
"""

import re
from collections.abc import Mapping
from typing import Any

from podpass.directory.model import OtherResource
from podpass.directory.resource_manager import errors, wire
from podpass.directory.resource_manager.model import OperationContext
from podpass.directory.resource_manager.plain_resources import PlainType
from podpass.lab.services.dns import wire as dns_wire
from podpass.lab.services.dns.model import LOCATION, MAX_RECORD_SETS, PRIVATE_TYPE
from podpass.lab.services.dns.record_sets import RecordSets
from podpass.lab.services.dns.store import DnsZones

_VERSIONS = ("2024-06-01", "2020-06-01", "2018-09-01")
_MAX_LINKS = 1000
_NETWORK = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Network/virtualNetworks/[^/]+",
    re.IGNORECASE,
)
_LINK_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,78}[A-Za-z0-9_])?")


def _validate_zone(name: str, _body: Mapping[str, Any]) -> dict[str, Any]:
    dns_wire.check_zone_name(name)
    return {}


async def _show_zone(context: OperationContext, zone: OtherResource) -> Mapping[str, Any]:
    count = await context.directory.store(DnsZones).count(zone.resource_id)
    links = await context.directory.other_resources.page(
        context.subscription_id, below=zone.resource_id, limit=_MAX_LINKS
    )
    registering = [one for one in links if one.document["properties"]["registrationEnabled"]]
    properties = {
        "maxNumberOfRecordSets": MAX_RECORD_SETS,
        "numberOfRecordSets": count + 1,  # the SOA of the zone itself
        "maxNumberOfVirtualNetworkLinks": _MAX_LINKS,
        "numberOfVirtualNetworkLinks": len(links),
        "maxNumberOfVirtualNetworkLinksWithRegistration": _MAX_LINKS,
        "numberOfVirtualNetworkLinksWithRegistration": len(registering),
        "provisioningState": "Succeeded",
    }
    return {"properties": properties}


def _validate_link(name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a link. Its network is not read, because podpass has no virtual networks."""
    if not _LINK_NAME.fullmatch(name):
        text = f"The name '{name[:80]}' is invalid: want 1 to 80 letters, digits, '.', '_' and '-'."
        raise errors.bad_request("InvalidResourceName", text)
    given = wire.object_member(body, "properties")
    network = wire.text(wire.object_member(given, "virtualNetwork"), "id") or ""
    if not _NETWORK.fullmatch(network):
        text = "'properties.virtualNetwork.id' must be the id of a virtual network."
        raise errors.bad_request("BadRequest", text)
    properties = {
        "virtualNetwork": {"id": network},
        "registrationEnabled": bool(wire.boolean(given, "registrationEnabled")),
        "virtualNetworkLinkState": "Completed",
    }
    return {"properties": properties}


_ZONES = PlainType(
    name=PRIVATE_TYPE,
    noun="private DNS zone",
    versions=_VERSIONS,
    location=LOCATION,
    versioned=True,
    lowers=True,
    validate=_validate_zone,
    show=_show_zone,
)
_LINKS = PlainType(
    name=f"{PRIVATE_TYPE}/virtualNetworkLinks",
    noun="virtual network link",
    versions=_VERSIONS,
    location=LOCATION,
    parent=_ZONES,
    versioned=True,
    validate=_validate_link,
)
PRIVATE_TYPES = (_ZONES, _LINKS)
PRIVATE_RECORD_SETS = RecordSets(
    zones=_ZONES,
    own=("SOA",),
    lists=("ALL",),
    spelling={
        "TTL": "ttl",
        "ARecords": "aRecords",
        "AAAARecords": "aaaaRecords",
        "CNAMERecord": "cnameRecord",
        "TXTRecords": "txtRecords",
        "SOARecord": "soaRecord",
        "minimumTTL": "minimumTtl",
    },
)
