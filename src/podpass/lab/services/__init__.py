"""The Azure services of an instance, each in a folder of its own.

A folder is added by its line in the list below, and can be deleted with it.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from podpass.clock import Clock, system
from podpass.directory.claims_expression import NO_KUBERNETES, KubernetesIssuers
from podpass.lab.data.datadir import DataDir
from podpass.lab.services import clusters, connector, dns, storage, vault
from podpass.lab.services.model import Service

if TYPE_CHECKING:
    from podpass.database import Database
    from podpass.directory.model import ResourcePrincipal
    from podpass.directory.resource_manager.model import ResourceProvider
    from podpass.directory.roles import RoleCatalogue
    from podpass.directory.store.directory import Directory
    from podpass.lab.names.messages import Query
    from podpass.lab.names.resolver import AnswerName
    from podpass.seed.model import Seed
    from podpass.seed.section import SeedSection

_ALL = (vault.SERVICE, storage.SERVICE, dns.SERVICE, clusters.SERVICE, connector.SERVICE)
_NAMES = {each.name for each in _ALL}
SERVICES: tuple[Service, ...] = tuple(each for each in _ALL if _NAMES.issuperset(each.requires))


def create_directory(
    database: "Database",
    extra: "Sequence[ResourcePrincipal]" = (),
    clock: Clock = system,
    expressions: KubernetesIssuers = NO_KUBERNETES,
) -> "Directory":
    """Create a directory with the roles and stores of all services."""
    from podpass.directory.store.directory import Directory

    return Directory(database, extra, clock, expressions, [each.directory() for each in SERVICES])


def add_backup_tables() -> None:
    """Make backups contain the tables of all services."""
    from podpass.backup.tables import STORES

    for metadata, chain in (each.tables() for each in SERVICES if each.tables is not None):
        STORES[chain.name] = (metadata, chain)


async def open_data(
    stack: AsyncExitStack, database: "Database", data_dir: DataDir
) -> dict[str, Any]:
    """Open what the services store besides the directory; return it by the name of the service."""
    opening = {each.name: each.open_data() for each in SERVICES if each.open_data is not None}
    return {
        name: await stack.enter_async_context(open_one(database, data_dir))
        for name, open_one in opening.items()
    }


def list_providers() -> "list[ResourceProvider]":
    """Return what the services add to Resource Manager."""
    return [each.provider() for each in SERVICES]


def list_sections() -> "list[SeedSection[Any]]":
    """Return the sections that the services add to a seed file, and those of issuers and policies."""
    from podpass.diagnose.lint.section import SECTION
    from podpass.lab.issuers.seed import SECTIONS

    return [*(each.seed() for each in SERVICES if each.seed is not None), *SECTIONS, SECTION]


def create_roles() -> "RoleCatalogue":
    """Return the built-in roles, with those of the services."""
    from podpass.directory.roles import RoleCatalogue

    return RoleCatalogue(role for each in SERVICES for role in each.directory().roles)


def parse_seed(text: str, filename: str) -> "Seed":
    """Parse a seed file with the sections of all services. Raises UsageError."""
    from podpass.seed.model import parse_seed

    return parse_seed(text, filename, list_sections(), create_roles())


def answer_names(directory: "Directory") -> "AnswerName":
    """Return the function that answers queries for names of any service."""
    answers = [each.answer_name()(directory) for each in SERVICES if each.answer_name is not None]

    async def answer(query: "Query", is_reserved: Callable[[str], bool]) -> bytes | None:
        for each in answers:
            if (reply := await each(query, is_reserved)) is not None:
                return reply
        return None

    return answer


def list_install_warnings(text: str, resolution: str) -> list[str]:
    """Return the warnings of all services for a seed that is applied to a cluster with this `--dns`.

    Raises UsageError.
    """
    checks = [each.warn_at_install() for each in SERVICES if each.warn_at_install is not None]
    seed = parse_seed(text, "seed")
    return [warning for check in checks for warning in check(seed, resolution)]


async def is_webhook_enabled(directory: "Directory", subscription_id: str) -> bool:
    """Return whether all services let the webhook run at the start of the instance."""
    checks = [each.is_webhook_enabled() for each in SERVICES if each.is_webhook_enabled is not None]
    return all([await check(directory, subscription_id) for check in checks])


async def has_host(directory: "Directory", host: str) -> bool:
    """Return whether the resource of a host exists; a host of no service always does.

    `host` is in lower case without a trailing dot.
    """
    for find in [each.has_host() for each in SERVICES if each.has_host is not None]:
        if (found := await find(directory, host)) is not None:
            return found
    return True


async def list_hosts(
    directory: "Directory", subscription_id: str, served: Iterable[str]
) -> list[str]:
    """List the host names of the resources of all services."""
    listed = [each.list_hosts() for each in SERVICES if each.list_hosts is not None]
    return [host for hosts in listed for host in await hosts(directory, subscription_id, served)]
