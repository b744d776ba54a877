"""Read the resource of a workload, and the roles of its identity there, from Resource Manager."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from urllib.parse import quote, urlsplit

from podpass.diagnose.doctor.directory_facts import readable
from podpass.diagnose.doctor.model import AssignedRole, ResourceFacts, VaultPolicy
from podpass.directory import roles
from podpass.directory.model import RoleDefinition
from podpass.errors import UsageError
from podpass.facts import Unread
from podpass.kubernetes.objects import Object
from podpass.provision.api_client import ApiClient, quote_literal

_ROLES = {"api-version": "2022-04-01"}
_VAULTS = {"api-version": "2023-07-01"}
_VAULT_ID = re.compile(
    r"/subscriptions/[^/]+/resourcegroups/[^/]+/providers/microsoft\.keyvault/vaults/[^/]+",
    re.IGNORECASE,
)
_RESOURCE_ID = re.compile(r"/subscriptions/[0-9A-Za-z-]+(?:/[\w().@ -]+)*")
_VAULT_NAME = re.compile(r"[A-Za-z0-9-]{3,24}")
_MAX_ROLES = 50
_MAX_SIMILAR, _MIN_SIMILARITY = 3, 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedResource:
    """The resource that a workload wants to use: a vault by name, or any resource by its id.

    `action` is what it wants to do there, empty for anything; with `is_data`, a data action.
    """

    vault: str = ""
    resource_id: str = ""
    action: str = ""
    is_data: bool = False

    @property
    def vault_name(self) -> str:
        """Return the name of the vault; empty for another resource."""
        if self.resource_id and not _VAULT_ID.fullmatch(self.resource_id):
            return ""
        return self.vault or self.resource_id.rpartition("/")[2]


def parse_requested_resource(
    vault: str, resource: str, action: str = "", data_action: str = ""
) -> RequestedResource | None:
    """Read the options of a resource; None if no resource was named.

    `vault` is a name, a URL or a resource id; without an action, secrets of it are read. Raises UsageError.
    """
    for options, given in (
        ("--vault or --resource", (vault, resource)),
        ("--action or --data-action", (action, data_action)),
    ):
        if all(given):
            raise UsageError(f"pass {options}, not both")
    if not (vault or resource):
        if action or data_action:
            raise UsageError("an action needs a resource: pass --vault or --resource")
        return None
    is_data = not action
    if resource or vault.startswith("/"):
        found = (resource or vault).rstrip("/")
        parts = set(found.split("/"))
        if not _RESOURCE_ID.fullmatch(found) or parts & {".", ".."}:
            raise UsageError(
                f"{found[:200]!r} is not a resource id", hint="it begins with /subscriptions/ID"
            )
        if _VAULT_ID.fullmatch(found):
            data_action = data_action or roles.GET_SECRET
        return RequestedResource(resource_id=found, action=action or data_action, is_data=is_data)
    host = urlsplit(vault if "://" in vault else f"//{vault}").hostname or ""
    name = host.partition(".")[0]
    if not _VAULT_NAME.fullmatch(name):
        raise UsageError(
            f"--vault {vault[:200]!r} is not a vault",
            hint="pass its name, its URL or its resource id",
        )
    return RequestedResource(
        vault=name, action=action or data_action or roles.GET_SECRET, is_data=is_data
    )


class ResourceReader:
    """Reads one resource and the role assignments of one principal; it never writes."""

    def __init__(self, manager: ApiClient, subscription_id: str) -> None:
        self._manager = manager
        self._subscription = subscription_id

    async def read(self, wanted: RequestedResource, principal_id: str) -> ResourceFacts | Unread:
        """Return the resource, with the roles of a principal in its subscription."""
        found = await readable(self._find_vault(wanted))
        if isinstance(found, Unread):
            return found
        if found is None and (name := wanted.vault_name):
            return await self._describe_missing(name, is_exact=bool(wanted.resource_id))
        resource_id = str((found or {}).get("id") or wanted.resource_id)
        assigned: Sequence[AssignedRole] | Unread = await readable(
            self._list_roles(resource_id.split("/")[2], principal_id)
        )
        properties = (found or {}).get("properties") or {}
        name = resource_id.rpartition("/")[2]
        return ResourceFacts(
            title=f"vault {name}" if found else resource_id,
            resource_id=resource_id,
            action=wanted.action,
            is_data=wanted.is_data,
            uses_roles=not found or bool(properties.get("enableRbacAuthorization")),
            roles=assigned,
            policies=tuple(_policy(each) for each in properties.get("accessPolicies") or ()),
        )

    async def _find_vault(self, wanted: RequestedResource) -> Object | None:
        """Return the vault; None for a resource of another type, or if there is no such vault."""
        if wanted.resource_id:
            if not wanted.vault_name:
                return None
            return await self._manager.find(quote(wanted.resource_id, safe="/()@"), _VAULTS)
        for each in await self._list("vaults"):
            if str(each.get("name")).lower() == wanted.vault.lower():
                return each
        return None

    async def _list(self, collection: str) -> list[Object]:
        path = f"/subscriptions/{self._subscription}/providers/Microsoft.KeyVault/{collection}"
        return await self._manager.list(path, _VAULTS)

    async def _describe_missing(self, name: str, *, is_exact: bool) -> ResourceFacts:
        """Return whether a vault that does not exist was deleted, and vaults with a similar name."""
        listed, gone = await asyncio.gather(
            readable(self._list("vaults")), readable(self._list("deletedVaults"))
        )
        deleted = () if isinstance(gone, Unread) else gone
        urls = {
            str(each.get("name")).lower(): str((each.get("properties") or {}).get("vaultUri") or "")
            for each in (() if isinstance(listed, Unread) else listed)
        }
        near = get_close_matches(name.lower(), list(urls), _MAX_SIMILAR, _MIN_SIMILARITY)
        return ResourceFacts(
            title=f"vault {name}",
            exists=False,
            is_exact=is_exact,
            deleted=any(str(each.get("name")).lower() == name.lower() for each in deleted),
            similar=tuple(urls[each].rstrip("/") for each in near),
        )

    async def _list_roles(self, subscription: str, principal_id: str) -> Sequence[AssignedRole]:
        path = f"/subscriptions/{subscription}/providers/Microsoft.Authorization/roleAssignments"
        # The filter includes roles of the groups of the principal.
        params = {**_ROLES, "$filter": f"assignedTo({quote_literal(principal_id)})"}
        assigned = [each.get("properties") or {} for each in await self._manager.list(path, params)]
        ids = dict.fromkeys(str(each.get("roleDefinitionId") or "") for each in assigned)
        # A path: a text without the slash would continue the name of the host that receives the token.
        read = [each for each in ids if each.startswith("/")][:_MAX_ROLES]
        definitions = await asyncio.gather(*(self._get_role(each) for each in read))
        found = dict(zip(read, definitions, strict=True))
        return tuple(
            AssignedRole(
                scope=str(each.get("scope") or ""), name=found[role][0], permissions=found[role][1]
            )
            for each in assigned
            if (role := str(each.get("roleDefinitionId") or "")) in found
        )

    async def _get_role(self, role_id: str) -> tuple[str, tuple[RoleDefinition, ...]]:
        found = await self._manager.get(quote(role_id, safe="/()@"), _ROLES)
        properties = found.get("properties") or {}
        name = str(properties.get("roleName") or role_id.rpartition("/")[2])
        blocks = properties.get("permissions") or ()
        return name, tuple(_permission(name, each) for each in blocks)


def _permission(name: str, block: Object) -> RoleDefinition:
    def patterns(member: str) -> tuple[str, ...]:
        return tuple(str(each) for each in block.get(member) or ())

    return RoleDefinition(
        id="",
        name=name,
        actions=patterns("actions"),
        not_actions=patterns("notActions"),
        data_actions=patterns("dataActions"),
        not_data_actions=patterns("notDataActions"),
    )


def _policy(entry: Object) -> VaultPolicy:
    allowed = (entry.get("permissions") or {}).get("secrets") or ()
    return VaultPolicy(
        object_id=str(entry.get("objectId") or "").lower(),
        secrets=tuple(str(each).lower() for each in allowed),
    )
