"""msgraph-sdk: applications, principals, secrets, federated credentials, roles. It prints results as JSON."""

import asyncio
import json
import sys
from collections.abc import Awaitable
from typing import Any

from azure.identity.aio import DefaultAzureCredential
from kiota_abstractions.api_error import APIError
from kiota_abstractions.base_request_configuration import RequestConfiguration
from msgraph import GraphServiceClient
from msgraph.generated.applications.applications_request_builder import (
    ApplicationsRequestBuilder as Applications,
)
from msgraph.generated.applications.item.add_password.add_password_post_request_body import (
    AddPasswordPostRequestBody,
)
from msgraph.generated.applications.item.remove_password.remove_password_post_request_body import (
    RemovePasswordPostRequestBody,
)
from msgraph.generated.models.app_role_assignment import AppRoleAssignment
from msgraph.generated.models.application import Application
from msgraph.generated.models.federated_identity_credential import FederatedIdentityCredential
from msgraph.generated.models.password_credential import PasswordCredential
from msgraph.generated.models.service_principal import ServicePrincipal
from msgraph.generated.service_principals.service_principals_request_builder import (
    ServicePrincipalsRequestBuilder as Principals,
)

Facts = dict[str, object]
GRAPH = "00000003-0000-0000-c000-000000000000"
Query = Applications.ApplicationsRequestBuilderGetQueryParameters
PrincipalQuery = Principals.ServicePrincipalsRequestBuilderGetQueryParameters


async def refusal(call: Awaitable[object]) -> list[object] | None:
    try:
        await call
    except APIError as exc:
        return [exc.response_status_code, exc.error.code]
    return None


async def applications(client: Any, name: str, facts: Facts) -> tuple[Any, Any]:
    made = await client.applications.post(Application(display_name=name))
    facts["made"] = [made.display_name, made.sign_in_audience]
    one = client.applications.by_application_id(made.id)
    facts["shown"] = (await one.get()).app_id == made.app_id
    await one.patch(Application(display_name=f"{name}-2"))
    query = Query(filter=f"displayName eq '{name}-2'", select=["id", "appId"], count=True)
    asked = RequestConfiguration(query_parameters=query)
    asked.headers.add("ConsistencyLevel", "eventual")
    found = await client.applications.get(asked)
    facts["found"] = [found.odata_count, [each.app_id == made.app_id for each in found.value]]
    facts["pages"] = await pages(client)
    return made, one


async def pages(client: Any) -> bool:
    """Read all applications page by page with `@odata.nextLink`; return their number."""
    page = await client.applications.get(RequestConfiguration(query_parameters=Query(top=1)))
    count = len(page.value)
    while page.odata_next_link:
        page = await client.applications.with_url(page.odata_next_link).get()
        count += len(page.value)
    return count == len((await client.applications.get()).value)


async def secrets(one: Any, facts: Facts) -> None:
    wanted = AddPasswordPostRequestBody(password_credential=PasswordCredential(display_name="s"))
    made = await one.add_password.post(wanted)
    facts["secret"] = [made.display_name, made.secret_text.startswith(made.hint)]
    shown = (await one.get()).password_credentials
    facts["secrets"] = [[each.display_name, each.secret_text] for each in shown]
    await one.remove_password.post(RemovePasswordPostRequestBody(key_id=made.key_id))
    facts["no_secrets"] = (await one.get()).password_credentials


async def trust(one: Any, facts: Facts) -> None:
    wanted = FederatedIdentityCredential(
        name="trust",
        issuer="https://issuer.example/",
        subject="repo:a",
        audiences=["api://AzureADTokenExchange"],
    )
    credentials = one.federated_identity_credentials
    made = await credentials.post(wanted)
    facts["trust"] = [made.name, made.subject, made.audiences]
    facts["twice"] = await refusal(credentials.post(wanted))
    mine = credentials.by_federated_identity_credential_id(made.id)
    await mine.patch(FederatedIdentityCredential(subject="repo:b"))
    facts["retold"] = (await mine.get()).subject
    facts["trusts"] = [each.name for each in (await credentials.get()).value]
    await mine.delete()
    facts["untrusted"] = await refusal(mine.get())


async def principals(client: Any, app: Any, facts: Facts) -> None:
    made = await client.service_principals.post(ServicePrincipal(app_id=app.app_id))
    facts["principal"] = [made.display_name, made.service_principal_type]
    query = PrincipalQuery(filter=f"appId eq '{GRAPH}'")
    found = await client.service_principals.get(RequestConfiguration(query_parameters=query))
    (graph,) = found.value
    role = next(each for each in graph.app_roles if each.value == "Application.Read.All")
    one = client.service_principals.by_service_principal_id(made.id)
    given = AppRoleAssignment(principal_id=made.id, resource_id=graph.id, app_role_id=role.id)
    await one.app_role_assignments.post(given)
    held = (await one.app_role_assignments.get()).value
    facts["roles"] = [each.app_role_id == role.id for each in held]
    await one.app_role_assignments.by_app_role_assignment_id(held[0].id).delete()
    facts["no_roles"] = (await one.app_role_assignments.get()).value
    await one.delete()


async def main(name: str) -> None:
    facts: Facts = {}
    async with DefaultAzureCredential() as credential:
        client = GraphServiceClient(credential, ["https://graph.microsoft.com/.default"])
        app, one = await applications(client, name, facts)
        await secrets(one, facts)
        await trust(one, facts)
        await principals(client, app, facts)
        await one.delete()
        facts["gone"] = await refusal(one.get())
        facts["me"] = await refusal(client.me.get())
    print(json.dumps(facts))


asyncio.run(main(*sys.argv[1:]))
