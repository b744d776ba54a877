"""Create a workload identity: perform the steps of the plan."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from podpass.provision import naming
from podpass.provision.model import Action, ObjectKind, Observed, ProvisionRequest, ProvisionStep
from podpass.provision.plan import (
    build_annotations,
    find_client_id,
    find_credential,
    find_principal_id,
)
from podpass.provision.steps import Clients

Fields = Mapping[str, str]


@dataclass(kw_only=True)
class Creation:
    """Performs steps of a creation; each may need the ids of objects that an earlier one created.

    `tag` is set on new service principals.
    """

    request: ProvisionRequest
    observed: Observed
    clients: Clients
    tag: str
    ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        application = self.observed.application
        known = {
            "client_id": find_client_id(self.request, self.observed),
            "principal_id": find_principal_id(self.request, self.observed),
            "object_id": application.object_id if application else "",
        }
        self.ids.update({name: value for name, value in known.items() if value})

    async def perform(self, step: ProvisionStep) -> Fields:
        """Perform one step; return the values that scripts read. Raises ApiError, KubeError, SignInFailed."""
        match step.kind:
            case ObjectKind.APPLICATION:
                return await self._application(step)
            case ObjectKind.PRINCIPAL:
                return await self._principal(step)
            case ObjectKind.IDENTITY:
                return await self._identity(step)
            case ObjectKind.ACCOUNT:
                return await self._account(step)
            case ObjectKind.CREDENTIAL:
                return await self._credential(step)
            case ObjectKind.ASSIGNMENT:
                return await self._assignment(step)

    async def _application(self, step: ProvisionStep) -> Fields:
        found = self.observed.application
        if step.action is Action.CREATE:
            found = await self.clients.of_graph.create_application(step.name)
        assert found is not None
        self.ids.update(client_id=found.client_id, object_id=found.object_id)
        return {"name": found.name, "clientID": found.client_id, "objectID": found.object_id}

    async def _principal(self, step: ProvisionStep) -> Fields:
        found = self.observed.principal
        if step.action is Action.CREATE:
            client_id = self.ids["client_id"]
            found = await self.clients.of_graph.create_principal(client_id, [self.tag])
        assert found is not None
        if not self.request.principal_object_id:
            self.ids["principal_id"] = found.object_id
        return {"name": found.name, "clientID": found.client_id, "objectID": found.object_id}

    async def _identity(self, step: ProvisionStep) -> Fields:
        request, found = self.request, self.observed.identity
        if step.action is Action.CREATE:
            location = request.location or self.observed.location or ""
            manager = self.clients.of_manager
            found = await manager.put_identity(request.resource_group, step.name, location)
        assert found is not None
        self.ids.update(client_id=found.client_id, principal_id=found.principal_id)
        return {
            "name": found.name,
            "clientID": found.client_id,
            "principalID": found.principal_id,
            "resourceID": found.resource_id,
        }

    async def _account(self, step: ProvisionStep) -> Fields:
        request, accounts = self.request, self.clients.of_accounts
        annotations = build_annotations(
            self.ids["client_id"], request.tenant_id, request.token_seconds
        )
        if step.action is Action.CREATE:
            given = {key: value for key, value in annotations.items() if value is not None}
            await accounts.create(request.namespace, request.account, given)
        elif step.action is Action.UPDATE:
            await accounts.annotate(request.namespace, request.account, annotations)
        return {"namespace": request.namespace, "name": request.account}

    async def _credential(self, step: ProvisionStep) -> Fields:
        request = self.request
        fields = {"objectID": self.ids.get("object_id", ""), "subject": request.subject}
        if request.is_managed:
            fields = {"managedIdentity": request.managed_identity, "subject": request.subject}
        if step.action is Action.KEEP:
            return fields
        if request.is_managed:
            await self.clients.of_manager.put_credential(
                request.resource_group, request.managed_identity, request.credential
            )
        else:
            await self.clients.of_graph.create_credential(self.ids["object_id"], request.credential)
        return fields

    async def _assignment(self, step: ProvisionStep) -> Fields:
        request, role, found = self.request, self.observed.role, self.observed.assignment
        assert role is not None
        principal = self.ids["principal_id"]
        if step.action is Action.CREATE:
            name = naming.derive_assignment_name(request.scope, role.id, principal)
            found = await self.clients.of_manager.put_assignment(
                request.scope, name, role.id, principal
            )
        assert found is not None
        self.ids["role_assignment_id"] = found.id
        return {
            "scope": request.scope,
            "role": request.role,
            "servicePrincipalObjectID": principal,
            "roleAssignmentID": found.id,
        }


@dataclass(kw_only=True)
class Deletion:
    """Performs steps of a deletion."""

    request: ProvisionRequest
    observed: Observed
    clients: Clients

    async def perform(self, step: ProvisionStep) -> Fields:
        """Perform one step; return the values that scripts read. Raises ApiError, KubeError, SignInFailed."""
        request, manager = self.request, self.clients
        is_present = step.action is Action.DELETE
        match step.kind:
            case ObjectKind.ASSIGNMENT:
                found = self.observed.assignment
                if is_present and found is not None:
                    await manager.of_manager.delete_assignment(found.id)
                name = found.id if found else request.assignment_id
                return {"roleAssignmentID": name}
            case ObjectKind.CREDENTIAL:
                if is_present:
                    await self._delete_credential()
                return {"subject": request.subject, "issuerURL": request.issuer}
            case ObjectKind.ACCOUNT:
                if is_present and self.observed.account is not None:
                    await manager.of_accounts.delete(
                        request.namespace, request.account, self.observed.account.uid
                    )
                return {"namespace": request.namespace, "name": request.account}
            case ObjectKind.IDENTITY:
                if is_present:
                    await manager.of_manager.delete_identity(
                        request.resource_group, request.managed_identity
                    )
                return {"name": request.managed_identity, "resourceGroup": request.resource_group}
            case _:
                return await self._delete_application(is_present=is_present)

    async def _delete_application(self, *, is_present: bool) -> Fields:
        found = self.observed.application
        if is_present and found is not None:
            await self.clients.of_graph.delete_application(found.object_id)
        name = found.name if found else self.request.resolved_name
        object_id = found.object_id if found else self.request.application_object_id
        return {"name": name, "objectID": object_id}

    async def _delete_credential(self) -> None:
        request, observed = self.request, self.observed
        found = find_credential(request.credential, observed.credentials)
        assert found is not None
        if request.is_managed:
            await self.clients.of_manager.delete_credential(
                request.resource_group, request.managed_identity, found.name
            )
        elif observed.application is not None:
            await self.clients.of_graph.delete_credential(observed.application.object_id, found.id)
