"""azure-mgmt-resource and -subscriptions: groups, resources, providers. It prints results as JSON."""

import json
import sys

from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.resource.subscriptions import SubscriptionClient

subscription, name = sys.argv[1:]
credential = DefaultAzureCredential()
client = ResourceManagementClient(credential, subscription)
groups = client.resource_groups
facts: dict[str, object] = {}

made = groups.create_or_update(name, {"location": "westeurope", "tags": {"use": "test"}})
facts["made"] = [made.name, made.location, made.tags, made.properties.provisioning_state]
facts["exists"] = groups.check_existence(name)
facts["changed"] = groups.update(name, {"tags": {"use": "more"}}).tags
facts["shown"] = groups.get(name).tags
facts["listed"] = name in [each.name for each in groups.list()]
by_tag = groups.list(filter="tagName eq 'use' and tagValue eq 'more'")
facts["by_tag"] = [each.name for each in by_tag]
facts["one_a_page"] = len(list(groups.list(top=1))) == len(list(groups.list()))

kind, version = "Microsoft.ManagedIdentity/userAssignedIdentities", "2024-11-30"
group_id = groups.get(name).id
one = f"{group_id}/providers/{kind}/generic"
body = {"location": "westeurope"}
client.resources.begin_create_or_update_by_id(one, body, api_version=version).result()
facts["generic"] = client.resources.get_by_id(one, api_version=version).name
facts["inside"] = [each.name for each in client.resources.list_by_resource_group(name)]
of_kind = client.resources.list(filter=f"resourceType eq '{kind}'")
facts["of_kind"] = "generic" in [each.name for each in of_kind]

facts["provider"] = client.providers.get("Microsoft.KeyVault").registration_state
facts["registered"] = client.providers.register("Microsoft.KeyVault").registration_state
facts["providers"] = len(list(client.providers.list()))

subscriptions = SubscriptionClient(credential).subscriptions
facts["subscriptions"] = [each.subscription_id for each in subscriptions.list()]
facts["subscription"] = subscriptions.get(subscription).state
locations = [each.name for each in subscriptions.list_locations(subscription)]
facts["locations"] = "westeurope" in locations

groups.begin_delete(name).result()
try:
    groups.get(name)
except HttpResponseError as exc:
    facts["gone"] = [exc.status_code, exc.error and exc.error.code]
print(json.dumps(facts))
