"""azure-mgmt-keyvault and azure-keyvault-secrets: a vault and its secrets. It prints results as JSON."""

import json
import sys
from collections.abc import Callable

from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient

subscription, tenant, principal, name = sys.argv[1:]
credential = DefaultAzureCredential()
groups = ResourceManagementClient(credential, subscription).resource_groups
vaults = KeyVaultManagementClient(credential, subscription).vaults
facts: dict[str, object] = {}


def refusal(call: Callable[..., object], *arguments: str) -> list[object] | None:
    try:
        call(*arguments)
    except HttpResponseError as exc:
        return [exc.status_code, exc.error.code if exc.error else None]
    return None


def policy(*secrets: str) -> dict[str, object]:
    permissions = {"secrets": list(secrets)}
    return {"tenantId": tenant, "objectId": principal, "permissions": permissions}


groups.create_or_update(name, {"location": "westeurope"})
body = {
    "location": "westeurope",
    "properties": {
        "tenantId": tenant,
        "sku": {"family": "A", "name": "standard"},
        "enableRbacAuthorization": False,
        "accessPolicies": [policy("get")],
    },
}
facts["free"] = vaults.check_name_availability(
    {"name": name, "type": "Microsoft.KeyVault/vaults"}
).name_available
made = vaults.begin_create_or_update(name, name, body).result()
facts["made"] = [made.name, made.properties.vault_uri, made.properties.provisioning_state]
facts["shown"] = vaults.get(name, name).location
facts["of_group"] = [each.name for each in vaults.list_by_resource_group(name)]
facts["everywhere"] = name in [each.name for each in vaults.list_by_subscription()]
facts["as_resource"] = name in [
    each.name for each in vaults.list(filter="resourceType eq 'Microsoft.KeyVault/vaults'")
]
facts["changed"] = vaults.update(name, name, {"tags": {"a": "b"}}).tags
everything = policy("all", "purge")
added = vaults.update_access_policy(
    name, name, "replace", {"properties": {"accessPolicies": [everything]}}
)
facts["policies"] = [each.permissions.secrets for each in added.properties.access_policies]

client = SecretClient(f"https://{name}.vault.azure.net", credential)
first = client.set_secret("greeting", "hello", content_type="text/plain", tags={"a": "b"})
client.set_secret("greeting", "hello again")
facts["value"] = client.get_secret("greeting").value
facts["first"] = client.get_secret("greeting", first.properties.version).value
facts["versions"] = len(list(client.list_properties_of_secret_versions("greeting")))
facts["secrets"] = [each.name for each in client.list_properties_of_secrets()]
facts["off"] = client.update_secret_properties("greeting", enabled=False).enabled
facts["closed"] = refusal(client.get_secret, "greeting")
client.update_secret_properties("greeting", enabled=True)
kept = client.backup_secret("greeting")
facts["deleted"] = client.begin_delete_secret("greeting").result().name
facts["deleted_ones"] = [each.name for each in client.list_deleted_secrets()]
client.begin_recover_deleted_secret("greeting").wait()
facts["recovered"] = client.get_secret("greeting").value
client.begin_delete_secret("greeting").wait()
client.purge_deleted_secret("greeting")
facts["purged"] = refusal(client.get_deleted_secret, "greeting")
facts["restored"] = client.restore_secret_backup(kept).name
facts["never"] = refusal(client.get_secret, "never")

vaults.delete(name, name)
facts["deleted_vault"] = vaults.get_deleted(name, "westeurope").properties.vault_id == made.id
facts["deleted_vaults"] = name in [each.name for each in vaults.list_deleted()]
vaults.begin_purge_deleted(name, "westeurope").result()
facts["purged_vault"] = refusal(vaults.get_deleted, name, "westeurope")
groups.begin_delete(name).result()
print(json.dumps(facts))
