"""Public DNS zones: the control plane of Azure DNS. The cloud's resolver answers for their records.

Source:  https://learn.microsoft.com/rest/api/dns
"""

from collections.abc import Mapping
from typing import Any

from podpass.directory.errors import Conflict
from podpass.directory.model import OtherResource, WriteResult
from podpass.directory.resource_manager import errors
from podpass.directory.resource_manager.model import OperationContext
from podpass.directory.resource_manager.plain_resources import PlainType, create_provider
from podpass.lab.services.dns import wire as dns_wire
from podpass.lab.services.dns.model import LOCATION, TYPE
from podpass.lab.services.dns.private_zones import PRIVATE_RECORD_SETS, PRIVATE_TYPES
from podpass.lab.services.dns.record_sets import RecordSets
from podpass.lab.services.dns.store import DnsZones


async def _show(context: OperationContext, zone: OtherResource) -> Mapping[str, Any]:
    count = await context.directory.store(DnsZones).count(zone.resource_id)
    return {"properties": dns_wire.zone_properties(count)}


async def _store(context: OperationContext, zone: OtherResource) -> WriteResult:
    try:
        return await context.directory.store(DnsZones).put(zone)
    except Conflict as exc:
        text = (
            f"Another resource group of this instance has the DNS zone '{zone.name}', a zone that contains"
            " it, or a zone in it."
        )
        raise errors.conflict("Conflict", text) from exc


_ZONES = PlainType(
    name=TYPE,
    noun="DNS zone",
    versions=("2023-07-01-preview", "2018-05-01", "2017-10-01", "2016-04-01"),
    location=LOCATION,
    versioned=True,
    lowers=True,
    validate=dns_wire.validate_zone,
    show=_show,
    store=_store,
)


_RECORD_SETS = RecordSets(zones=_ZONES, own=("NS", "SOA"), lists=("recordsets", "all"))

PROVIDER = create_provider(
    _ZONES, *PRIVATE_TYPES, routes=(*_RECORD_SETS.routes(), *PRIVATE_RECORD_SETS.routes())
)
