"""What the console shows of a directory: identities with roles, and the audit log."""

from collections.abc import Mapping, Sequence
from typing import Any

from podpass.clock import rfc3339
from podpass.console.fixes import KnownObjects
from podpass.console.model import Listing
from podpass.database import collecting_errors
from podpass.directory.model import Identity
from podpass.directory.resources import BUILT_IN
from podpass.directory.rules import MAX_CREDENTIALS
from podpass.directory.store.directory import Directory
from podpass.exchange.sign_in.well_known_clients import BUILT_IN as PUBLIC_CLIENTS

_IDENTITIES = 200
_MAX_ASSIGNMENTS = 5000
_AUDIT_ROWS = 200
_MAX_VAULTS = 500
# The maximum number of objects whose names are shown after their GUIDs.
_MAX_NAMED = 1000

Row = Mapping[str, Any]


class DirectoryView:
    """Reads bounded listings of one tenant; rows that cannot be read are counted."""

    def __init__(self, directory: Directory, tenant_id: str) -> None:
        self._directory, self._tenant_id = directory, tenant_id
        self._known: tuple[int, KnownObjects] | None = None

    async def identities(self) -> Listing:
        """List one page of identities with their credentials and roles."""
        with collecting_errors() as damaged:
            found = await self._page()
            roles = await self._roles()
        rows = [_identity_row(each, roles.get(each.object_id, ())) for each in found]
        more = len(found) == _IDENTITIES
        return Listing(rows=rows, more=more, skipped=len(list(damaged)))

    async def known_objects(self) -> KnownObjects:
        """Return identities by client ID, vaults by name, and names by GUID; read once per change."""
        serial = await self.revision()
        if self._known is None or self._known[0] != serial:
            self._known = serial, await self._read_known_objects()
        return self._known[1]

    async def _read_known_objects(self) -> KnownObjects:
        with collecting_errors():
            identities = await self._page(_MAX_NAMED)
            resources = await self._directory.list_service_resources(self._tenant_id)
            vaults = [each for each in resources if each.is_vault]
            tenant = await self._directory.find_tenant(self._tenant_id)
            users = await self._directory.users.list(self._tenant_id, limit=_MAX_NAMED)
        return KnownObjects(
            identities={each.client_id: _identity_row(each, ()) for each in identities},
            vaults={each.name: {"resource_id": each.id} for each in vaults[:_MAX_VAULTS]},
            names={
                **({tenant.id: next(iter(tenant.domains), tenant.display_name)} if tenant else {}),
                **{each.id: each.name for each in PUBLIC_CLIENTS.values()},
                **{each.app_id: each.display_name for each in BUILT_IN},
                **{each.id: each.name for each in users},
                **{
                    id_: each.name
                    for each in identities
                    for id_ in (each.client_id, each.object_id, each.application_id)
                    if id_
                },
            },
        )

    async def audit(self) -> Listing:
        """List the last changes, the newest first; those of roles name the role and the principal."""
        with collecting_errors() as damaged:
            found = await self._directory.audit.list(limit=_AUDIT_ROWS)
            names = await self._role_names({each.details.get("role", "") for each in found})
        rows = [
            {
                "time": rfc3339(each.time),
                "who": each.actor_name or each.actor,
                "action": each.action,
                "target": each.target,
                "role": names.get(each.details.get("role", ""), ""),
                "principal": each.details.get("principal", ""),
            }
            for each in found
        ]
        return Listing(rows=rows, more=len(found) == _AUDIT_ROWS, skipped=len(list(damaged)))

    async def revision(self) -> int:
        """Return a number that changes with each change of the directory."""
        return await self._directory.audit.last_serial()

    async def _page(self, limit: int = _IDENTITIES) -> Sequence[Identity]:
        return await self._directory.identities.page(self._tenant_id, limit=limit)

    async def _roles(self) -> Mapping[str, Sequence[Row]]:
        """Return role and scope of each assignment, by principal ID."""
        assignments = await self._directory.assignments.list(limit=_MAX_ASSIGNMENTS)
        names = await self._role_names({each.role for each in assignments})
        found: dict[str, list[Row]] = {}
        for one in assignments:
            row = {"role": names[one.role], "scope": one.scope}
            found.setdefault(one.principal_id, []).append(row)
        return found

    async def _role_names(self, roles: set[str]) -> dict[str, str]:
        """Return the names of roles by ID; the ID of one that does not exist."""
        names = {}
        for role in sorted(roles - {""}):
            definition = await self._directory.role_definitions.get(role)
            names[role] = definition.name if definition else role
        return names


def _identity_row(found: Identity, roles: Sequence[Row]) -> dict[str, Any]:
    return {
        "name": found.name,
        "kind": str(found.kind),
        "client_id": found.client_id,
        "principal_id": found.object_id,
        "resource_id": found.resource_id,
        "enabled": found.enabled,
        "federated_credential_limit": MAX_CREDENTIALS,
        "federated_credentials": [
            {
                "name": each.name,
                "issuer": each.issuer,
                "subject": each.subject,
                "expression": each.expression,
                "audiences": list(each.audiences),
            }
            for each in found.credentials
        ],
        "roles": roles,
    }
