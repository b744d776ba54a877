"""Azure DNS: zones and record sets in Resource Manager, and the answers of the resolver for their names."""

from typing import TYPE_CHECKING

from podpass.directory.model import RoleDefinition
from podpass.directory.store.extension import DirectoryExtension
from podpass.lab.services.dns.store import DnsZones
from podpass.lab.services.model import Service

if TYPE_CHECKING:
    from podpass.directory.resource_manager.model import ResourceProvider
    from podpass.directory.store.directory import Directory
    from podpass.lab.names.resolver import AnswerName
    from podpass.seed.model import Seed
    from podpass.seed.section import SeedEntry, SeedSection

_MAX_NAMED = 10

_CONTRIBUTOR = RoleDefinition(
    id="befefa01-2a29-4197-83a8-272ff33ce314",
    name="DNS Zone Contributor",
    description="Manages DNS zones and their record sets, but not the access to them.",
    actions=(
        "Microsoft.Authorization/*/read",
        "Microsoft.Insights/alertRules/*",
        "Microsoft.Network/dnsZones/*",
        "Microsoft.ResourceHealth/availabilityStatuses/read",
        "Microsoft.Resources/deployments/*",
        "Microsoft.Resources/subscriptions/resourceGroups/read",
        "Microsoft.Support/*",
    ),
)


def _provider() -> "ResourceProvider":
    from podpass.lab.services.dns.resource_manager import PROVIDER

    return PROVIDER


def _seed() -> "SeedSection[SeedEntry]":
    from podpass.lab.services.dns.seed import SECTION

    return SECTION


def _answer_name(directory: "Directory") -> "AnswerName":
    from podpass.lab.services.dns.answers import ZoneAnswers

    return ZoneAnswers(directory.store(DnsZones).look_up)


def _warn_at_install(seed: "Seed", dns: str) -> list[str]:
    """Warn of zones whose names pods cannot look up with this `--dns`."""
    zones = [zone.name for zone in seed.entries["dns_zones"]]
    if not zones or dns == "pods":
        return []
    shown = ", ".join(zones[:_MAX_NAMED]) + (" and others" if zones[_MAX_NAMED:] else "")
    text = (
        f"warning: pods do not resolve names of the seed's DNS zones ({shown}): the cluster's DNS does not"
        " forward them; pods that are chosen with `podpass cloud install --dns pods` resolve them"
    )
    return [text]


SERVICE = Service(
    name="dns",
    directory=DirectoryExtension(roles=(_CONTRIBUTOR,), stores=(DnsZones,)),
    provider=_provider,
    seed=_seed,
    answer_name=_answer_name,
    warn_at_install=_warn_at_install,
)
