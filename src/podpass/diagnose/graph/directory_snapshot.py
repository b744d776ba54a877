"""Read the facts of the trust graph from the directory of this process."""

from collections.abc import Mapping, Sequence

from podpass.clouds import PUBLIC, Cloud
from podpass.database import CorruptRowError, collecting_errors
from podpass.diagnose.graph.model import DirectorySnapshot
from podpass.directory.model import ResourceInfo
from podpass.directory.store.directory import Directory

_IDENTITY_TYPE = "Microsoft.ManagedIdentity/userAssignedIdentities"
_PAGE = 200
_MAX_SKIPPED = 20


async def read_directory(
    directory: Directory,
    tenant_id: str,
    *,
    subscription_id: str = "",
    origins: tuple[str, ...] = (),
    cloud: Cloud = PUBLIC,
    exchanges: Mapping[tuple[str, str], str] | None = None,
) -> DirectorySnapshot:
    """Return the identities, roles and resources of a tenant; corrupt rows are left out, and named.

    Resources without a table of their own are read with `subscription_id` only; `origins` are those
    of the token service besides the cloud's own.
    """
    with collecting_errors() as skipped:
        identities = []
        after = None
        while True:
            page = await directory.identities.page(tenant_id, after=after, limit=_PAGE)
            identities += page
            if len(page) < _PAGE:
                break
            after = page[-1].client_id
        assignments = await directory.assignments.list()
        found = []
        for role_id in dict.fromkeys(each.role for each in assignments):
            # A corrupt role grants nothing.
            try:
                role = await directory.role_definitions.get(role_id)
            except CorruptRowError as exc:
                skipped.append(exc)
                continue
            if role is not None:
                found.append(role)
        of_services = await directory.list_service_resources(tenant_id)
        managed = [
            ResourceInfo(id=each.resource_id, type=_IDENTITY_TYPE, name=each.name)
            for each in identities
            if each.resource_id
        ]
        return DirectorySnapshot(
            tenant_id=tenant_id,
            issuers=tuple(
                f"{origin}/{tenant_id}/v2.0"
                for origin in dict.fromkeys((f"https://{cloud.login}", *origins))
            ),
            identities=tuple(identities),
            assignments=tuple(assignments),
            roles=tuple(found),
            resources=(*of_services, *managed, *await _read_others(directory, subscription_id)),
            exchanges=exchanges,
            unread=_describe_skipped(skipped),
        )


def _describe_skipped(skipped: Sequence[CorruptRowError]) -> tuple[str, ...]:
    found = [each.message for each in skipped[:_MAX_SKIPPED]]
    if more := len(skipped) - len(found):
        found.append(f"{more} more rows of the directory cannot be read")
    return tuple(found)


async def _read_others(directory: Directory, subscription_id: str) -> list[ResourceInfo]:
    found: list[ResourceInfo] = []
    after = None
    while subscription_id:
        page = await directory.other_resources.page(subscription_id, after=after, limit=_PAGE)
        found += [
            ResourceInfo(id=each.resource_id, type=each.type, name=each.name) for each in page
        ]
        if len(page) < _PAGE:
            break
        after = page[-1].resource_id
    return found
