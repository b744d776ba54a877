"""Applications, service principals and their federated credentials in Microsoft Graph."""

from podpass.directory.model import FederatedCredential
from podpass.provision.api_client import (
    ApiClient,
    Object,
    parse_credential,
    quote_literal,
    quote_segment,
    required,
    text_of,
    texts_of,
    trust_members,
)
from podpass.provision.errors import ApiError
from podpass.provision.model import ApplicationInfo, PrincipalInfo

_APPLICATIONS, _PRINCIPALS = "/v1.0/applications", "/v1.0/servicePrincipals"
_FIELDS = "id,appId,displayName,passwordCredentials,keyCredentials"
_PRINCIPAL_FIELDS = (
    "id,appId,displayName,accountEnabled,servicePrincipalType,alternativeNames,"
    "appOwnerOrganizationId"
)
# Codes of Graph for a reference to an object that a server does not have yet.
_NOT_REPLICATED = frozenset(
    {"Request_ResourceNotFound", "ResourceNotFound", "NoBackingApplicationObject"}
)


def is_missing(exc: ApiError) -> bool:
    """Return whether Graph does not find the object of a request."""
    return exc.api_status == 404 or exc.api_code in _NOT_REPLICATED


def _is_not_replicated(exc: ApiError) -> bool:
    return is_missing(exc) or (exc.api_status == 400 and "appId" in exc.message)


class GraphClient:
    """The requests to Microsoft Graph that a workload identity needs."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def find_applications(self, name: str) -> list[ApplicationInfo]:
        """Return the applications with a display name; it need not be unique. Raises ApiError."""
        params = {"$filter": f"displayName eq {quote_literal(name)}", "$select": _FIELDS}
        return [_application(each) for each in await self._client.list(_APPLICATIONS, params)]

    async def get_application(self, object_id: str) -> ApplicationInfo | None:
        """Return an application by its object id. Raises ApiError."""
        path = f"{_APPLICATIONS}/{quote_segment(object_id)}"
        found = await self._client.find(path, {"$select": _FIELDS})
        return _application(found) if found else None

    async def find_application(self, client_id: str) -> ApplicationInfo | None:
        """Return an application by its client id. Raises ApiError."""
        params = {"$filter": f"appId eq {quote_literal(client_id)}", "$select": _FIELDS}
        found = await self._client.list(_APPLICATIONS, params)
        return _application(found[0]) if found else None

    async def list_applications(self, limit: int | None = None) -> list[ApplicationInfo]:
        """Return the applications of the tenant: all, or those of a first page. Raises ApiError."""
        fields = {"$select": "id,appId,displayName"}
        if limit is None:
            return [_application(each) for each in await self._client.list(_APPLICATIONS, fields)]
        page = await self._client.get(_APPLICATIONS, {**fields, "$top": str(limit)})
        return [_application(each) for each in page.get("value") or ()]

    async def create_application(self, name: str) -> ApplicationInfo:
        """Create an application; return when Graph finds it by its name. Raises ApiError."""
        made = _application(await self._client.send("POST", _APPLICATIONS, {"displayName": name}))

        async def find() -> ApplicationInfo | None:
            found = await self.find_applications(name)
            return next((one for one in found if one.object_id == made.object_id), None)

        # A later run finds the application in this list; if it is missing, the run creates a second one.
        return await self._client.until(
            find, reason="waiting for Graph to list the new application"
        )

    async def delete_application(self, object_id: str) -> bool:
        """Delete an application; return whether it existed. Raises ApiError."""
        return await self._delete(f"{_APPLICATIONS}/{quote_segment(object_id)}")

    async def find_principal(self, client_id: str) -> PrincipalInfo | None:
        """Return the service principal of an application, by its client id. Raises ApiError."""
        found = await self._list_principals(f"appId eq {quote_literal(client_id)}")
        return found[0] if found else None

    async def get_principal(self, object_id: str) -> PrincipalInfo | None:
        """Return a service principal by its object id. Raises ApiError."""
        path = f"{_PRINCIPALS}/{quote_segment(object_id)}"
        found = await self._client.find(path, {"$select": _PRINCIPAL_FIELDS})
        return _principal(found) if found else None

    async def find_principals(self, name: str) -> list[PrincipalInfo]:
        """Return the service principals with a display name. Raises ApiError."""
        return await self._list_principals(f"displayName eq {quote_literal(name)}")

    async def create_principal(self, client_id: str, tags: list[str]) -> PrincipalInfo:
        """Create the service principal of an application. Raises ApiError."""

        async def create() -> Object | None:
            return await self._client.send("POST", _PRINCIPALS, {"appId": client_id, "tags": tags})

        made = await self._client.until(
            create, reason="waiting for Graph to find the new application", retry=_is_not_replicated
        )
        return _principal(made)

    async def list_credentials(self, object_id: str) -> list[FederatedCredential]:
        """Return the federated credentials of an application. Raises ApiError."""
        # Graph v1.0 omits expressions, and can truncate the list of an application that has one.
        path = _credentials_of(object_id, "beta")
        return [parse_credential(each) for each in await self._client.list(path)]

    async def create_credential(self, object_id: str, credential: FederatedCredential) -> None:
        """Create a federated credential of an application. Raises ApiError."""
        body = {
            "name": credential.name,
            **trust_members(credential),
            "description": credential.description,
        }
        path = _credentials_of(object_id, "beta" if credential.expression else "v1.0")

        async def create() -> Object | None:
            return await self._client.send("POST", path, body)

        await self._client.until(
            create, reason="waiting for Graph to find the new application", retry=is_missing
        )

    async def delete_credential(self, object_id: str, credential_id: str) -> bool:
        """Delete a federated credential of an application; return whether it existed. Raises ApiError."""
        return await self._delete(f"{_credentials_of(object_id)}/{quote_segment(credential_id)}")

    async def _delete(self, path: str) -> bool:
        try:
            await self._client.send("DELETE", path)
        except ApiError as exc:
            if is_missing(exc):
                return False
            raise
        return True

    async def _list_principals(self, condition: str) -> list[PrincipalInfo]:
        params = {"$filter": condition, "$select": _PRINCIPAL_FIELDS}
        return [_principal(each) for each in await self._client.list(_PRINCIPALS, params)]


def _credentials_of(object_id: str, version: str = "v1.0") -> str:
    return f"/{version}/applications/{quote_segment(object_id)}/federatedIdentityCredentials"


def _application(found: Object) -> ApplicationInfo:
    return ApplicationInfo(
        object_id=required(found, "id"),
        client_id=required(found, "appId"),
        name=text_of(found, "displayName"),
        secrets=len(found.get("passwordCredentials") or []),
        certificates=len(found.get("keyCredentials") or []),
    )


def _principal(found: Object) -> PrincipalInfo:
    return PrincipalInfo(
        object_id=required(found, "id"),
        client_id=text_of(found, "appId"),
        name=text_of(found, "displayName"),
        is_managed=found.get("servicePrincipalType") == "ManagedIdentity",
        enabled=found.get("accountEnabled") is not False,
        owner_tenant=text_of(found, "appOwnerOrganizationId"),
        alternative_names=texts_of(found, "alternativeNames"),
    )
