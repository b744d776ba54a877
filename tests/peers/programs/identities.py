"""azure-mgmt-msi and azure-mgmt-authorization: identities, credentials, roles. It prints results as JSON."""

import json
import sys
import uuid
from collections.abc import Callable

from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.resource.resources import ResourceManagementClient

subscription, name = sys.argv[1:]
credential = DefaultAzureCredential()
groups = ResourceManagementClient(credential, subscription).resource_groups
msi = ManagedServiceIdentityClient(credential, subscription)
roles = AuthorizationManagementClient(credential, subscription)
facts: dict[str, object] = {}


def refusal(call: Callable[..., object], *arguments: object) -> list[object] | None:
    try:
        call(*arguments)
    except HttpResponseError as exc:
        return [exc.status_code, exc.error and exc.error.code]
    return None


groups.create_or_update(name, {"location": "westeurope"})
identities, trust = msi.user_assigned_identities, msi.federated_identity_credentials
made = identities.create_or_update(name, "app", {"location": "westeurope"})
facts["made"] = [made.name, made.location, made.type]
facts["shown"] = identities.get(name, "app").client_id == made.client_id
facts["changed"] = identities.update(name, "app", {"tags": {"a": "b"}}).tags
facts["of_group"] = [each.name for each in identities.list_by_resource_group(name)]
facts["everywhere"] = "app" in [each.name for each in identities.list_by_subscription()]


def trusting(subject: str) -> dict[str, object]:
    audiences = ["api://AzureADTokenExchange"]
    issuer = "https://issuer.example/"
    return {"properties": {"issuer": issuer, "subject": subject, "audiences": audiences}}


for number in range(3):
    trust.create_or_update(name, "app", f"trust-{number}", trusting(f"subject-{number}"))
facts["trusted"] = trust.get(name, "app", "trust-0").subject
facts["trusts"] = sorted(each.name for each in trust.list(name, "app"))
facts["one_a_page"] = sorted(each.name for each in trust.list(name, "app", top=1))
again = trust.create_or_update(name, "app", "trust-0", trusting("another"))
facts["retold"] = again.subject
twice = refusal(trust.create_or_update, name, "app", "trust-9", trusting("subject-1"))
facts["twice"] = twice
trust.delete(name, "app", "trust-0")
facts["untrusted"] = refusal(trust.get, name, "app", "trust-0")

scope = groups.get(name).id
(reader,) = roles.role_definitions.list(scope, filter="roleName eq 'Reader'")
facts["reader"] = [reader.role_name, reader.permissions[0].actions]
assignment = roles.role_assignments.create(
    scope,
    str(uuid.uuid4()),
    {
        "role_definition_id": reader.id,
        "principal_id": made.principal_id,
        "principal_type": "ServicePrincipal",
    },
)
facts["assigned"] = assignment.principal_id == made.principal_id
facts["at_scope"] = len(list(roles.role_assignments.list_for_scope(scope, filter="atScope()")))
of_principal = f"assignedTo('{made.principal_id}')"
found = roles.role_assignments.list_for_subscription(filter=of_principal)
facts["of_principal"] = [each.id == assignment.id for each in found]
facts["by_id"] = roles.role_assignments.get_by_id(assignment.id).name == assignment.name
own_id = str(uuid.uuid4())
own = roles.role_definitions.create_or_update(
    scope,
    own_id,
    {
        "role_name": name,
        "role_type": "CustomRole",
        "permissions": [{"actions": ["*/read"]}],
        "assignable_scopes": [scope],
    },
)
facts["own"] = [own.role_name, own.role_type]
roles.role_definitions.delete(scope, own_id)
roles.role_assignments.delete_by_id(assignment.id)
facts["left"] = len(list(roles.role_assignments.list_for_scope(scope, filter="atScope()")))

identities.delete(name, "app")
facts["gone"] = refusal(identities.get, name, "app")
groups.begin_delete(name).result()
print(json.dumps(facts))
