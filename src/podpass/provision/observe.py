"""Read what exists in Graph, Resource Manager and the cluster, as far as the active phases need it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from podpass.directory.model import FederatedCredential
from podpass.guids import is_guid
from podpass.kubernetes.client import KubeError
from podpass.provision.errors import ApiError, SignInFailed
from podpass.provision.model import (
    ACCOUNT,
    APPLICATION,
    CREDENTIAL,
    IDENTITY,
    ROLE,
    ApplicationInfo,
    AssignmentInfo,
    IdentityInfo,
    Observed,
    PrincipalInfo,
    ProvisionRequest,
    RoleInfo,
)
from podpass.provision.plan import PhaseFailed, find_principal_id
from podpass.provision.steps import Clients, explain_refusal


@contextmanager
def reading(phase: str, action: str) -> Iterator[None]:
    """Convert the error of a read into that of its phase. Raises PhaseFailed."""
    try:
        yield
    except (ApiError, KubeError, SignInFailed) as exc:
        raise explain_refusal(phase, action, exc) from exc


class Observer:
    """Reads the objects of one request."""

    def __init__(self, request: ProvisionRequest, clients: Clients) -> None:
        self._request = request
        self._clients = clients
        self._phases = frozenset(request.phases)

    async def observe_for_creation(self) -> Observed:
        """Return what exists before a creation. Raises PhaseFailed."""
        request, phases = self._request, self._phases
        await self._check_subscription()
        account = None
        if ACCOUNT in phases:
            with reading(ACCOUNT, "get ServiceAccount"):
                account = await self._clients.of_accounts.find(request.namespace, request.account)
        identity, location = await self._find_identity_and_location()
        application = principal = None
        if not request.is_managed:
            application = await self._find_application() if self._needs_application() else None
            if APPLICATION in phases or (ROLE in phases and not request.principal_object_id):
                principal = await self._find_principal(application)
        role = await self._find_role() if ROLE in phases else None
        observed = Observed(
            application=application,
            principal=principal,
            identity=identity,
            location=location,
            account=account,
            credentials=await self._list_credentials(application, identity),
            role=role,
        )
        return await self._with_assignment(observed)

    async def observe_for_deletion(self) -> Observed:
        """Return what exists before a deletion. Raises PhaseFailed."""
        request, phases = self._request, self._phases
        await self._check_subscription()
        account = None
        pods: tuple[str, ...] | None = ()
        if ACCOUNT in phases:
            with reading(ACCOUNT, "get ServiceAccount"):
                accounts = self._clients.of_accounts
                account = await accounts.find(request.namespace, request.account)
                if account is not None:
                    pods = await accounts.list_pods(request.namespace, request.account)
        application = identity = principal = None
        if request.is_managed and phases - {ACCOUNT}:
            identity = await self._find_identity()
        needs_principal = ROLE in phases and not request.assignment_id
        if not request.is_managed and (phases & {APPLICATION, CREDENTIAL} or needs_principal):
            application = await self._find_application()
            if ROLE in phases and not request.principal_object_id:
                principal = await self._find_principal(application)
        role = await self._find_role() if needs_principal else None
        observed = Observed(
            application=application,
            principal=principal,
            identity=identity,
            account=account,
            credentials=await self._list_credentials(application, identity),
            role=role,
            pods=pods,
        )
        return await self._with_assignment(observed)

    def _needs_application(self) -> bool:
        request, phases = self._request, self._phases
        return bool(
            phases & {APPLICATION, CREDENTIAL}
            or (ACCOUNT in phases and not request.application_client_id)
            or (ROLE in phases and not (request.principal_object_id or request.principal_name))
        )

    async def _check_subscription(self) -> None:
        request = self._request
        users = [
            phase
            for phase in request.phases
            if phase in (IDENTITY, ROLE) or (phase == CREDENTIAL and request.is_managed)
        ]
        if users:
            with reading(users[0], "get the subscription"):
                await self._clients.of_manager.check_subscription()

    async def _find_identity_and_location(self) -> tuple[IdentityInfo | None, str | None]:
        request = self._request
        if not request.is_managed:
            return None, None
        identity = await self._find_identity()
        if identity is not None or IDENTITY not in self._phases:
            return identity, None
        with reading(IDENTITY, "get the resource group"):
            manager = self._clients.of_manager
            return None, await manager.find_group_location(request.resource_group)

    async def _find_identity(self) -> IdentityInfo | None:
        request = self._request
        with reading(IDENTITY, "get managed identity"):
            return await self._clients.of_manager.find_identity(
                request.resource_group, request.managed_identity
            )

    async def _find_application(self) -> ApplicationInfo | None:
        """Return the application by its object id or its name.

        Raises PhaseFailed if several have the name.
        """
        request, graph = self._request, self._clients.of_graph
        with reading(APPLICATION, "get AAD application"):
            if request.application_object_id:
                return await graph.get_application(request.application_object_id)
            if not request.resolved_name:
                return None
            found = await graph.find_applications(request.resolved_name)
        if len(found) > 1:
            raise _ambiguous(
                APPLICATION,
                f"{len(found)} applications have the name {request.resolved_name!r}",
                [each.object_id for each in found],
                "--aad-application-object-id",
            )
        return found[0] if found else None

    async def _find_principal(self, application: ApplicationInfo | None) -> PrincipalInfo | None:
        """Return the service principal: by its own name if that was given, else that of the application.

        Raises PhaseFailed if several have the name.
        """
        graph, name = self._clients.of_graph, self._request.principal_name
        with reading(ROLE, "get service principal"):
            if application is not None and name in ("", application.name):
                return await graph.find_principal(application.client_id)
            if not name:
                return None
            found = await graph.find_principals(name)
            if not found and application is not None:
                return await graph.find_principal(application.client_id)
        if len(found) > 1:
            raise _ambiguous(
                ROLE,
                f"{len(found)} service principals have the name {name!r}",
                [each.object_id for each in found],
                "--service-principal-object-id",
            )
        return found[0] if found else None

    async def _list_credentials(
        self, application: ApplicationInfo | None, identity: IdentityInfo | None
    ) -> tuple[FederatedCredential, ...]:
        request, clients = self._request, self._clients
        if not self._phases & {CREDENTIAL, APPLICATION, IDENTITY}:
            return ()
        with reading(CREDENTIAL, "list federated credentials"):
            if identity is not None:
                manager = clients.of_manager
                return tuple(
                    await manager.list_credentials(request.resource_group, request.managed_identity)
                )
            if application is not None:
                return tuple(await clients.of_graph.list_credentials(application.object_id))
        return ()

    async def _find_role(self) -> RoleInfo | None:
        """Return the role definition by name, GUID or resource id.

        Raises PhaseFailed if several have the name.
        """
        request, manager = self._request, self._clients.of_manager
        last = request.role.rpartition("/")[2]
        with reading(ROLE, f"get role definition id for role {request.role}"):
            if is_guid(last):
                return await manager.get_role(request.scope, last)
            found = await manager.find_roles(request.scope, request.role)
        if len(found) > 1:
            raise _ambiguous(
                ROLE,
                f"{len(found)} roles have the name {request.role!r}",
                [each.id.rpartition("/")[2] for each in found],
                "--azure-role",
            )
        return found[0] if found else None

    async def _with_assignment(self, observed: Observed) -> Observed:
        found = await self._find_assignment(observed) if ROLE in self._phases else None
        return replace(observed, assignment=found)

    async def _find_assignment(self, observed: Observed) -> AssignmentInfo | None:
        request, manager = self._request, self._clients.of_manager
        principal = find_principal_id(request, observed)
        with reading(ROLE, "get role assignments"):
            if request.assignment_id:
                return await manager.get_assignment(request.assignment_id)
            if observed.role is None or not principal:
                return None
            return await manager.find_assignment(request.scope, observed.role.id, principal)


def _ambiguous(phase: str, message: str, ids: list[str], flag: str) -> PhaseFailed:
    return PhaseFailed(
        phase, f"{message}: {', '.join(ids)}", hint=f"pass the id of the one that is meant: {flag}"
    )
