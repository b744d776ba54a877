"""azure-mgmt-containerservice: the cluster. It prints results as JSON."""

import json
import sys

from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.mgmt.containerservice import ContainerServiceClient
from azure.mgmt.resource.resources import ResourceManagementClient

subscription, name = sys.argv[1:]
credential = DefaultAzureCredential()
groups = ResourceManagementClient(credential, subscription).resource_groups
clusters = ContainerServiceClient(credential, subscription).managed_clusters
facts: dict[str, object] = {}

groups.create_or_update(name, {"location": "westeurope"})
body = {
    "location": "westeurope",
    "identity": {"type": "SystemAssigned"},
    "properties": {
        "dnsPrefix": "peers",
        "agentPoolProfiles": [{"name": "pool", "count": 1, "mode": "System"}],
        "oidcIssuerProfile": {"enabled": True},
        "securityProfile": {"workloadIdentity": {"enabled": True}},
    },
}
made = clusters.begin_create_or_update(name, "cluster", body).result()
facts["made"] = [made.name, made.properties.provisioning_state]
facts["issuer"] = made.properties.oidc_issuer_profile.issuer_url
facts["shown"] = clusters.get(name, "cluster").properties.security_profile.workload_identity.enabled
facts["listed"] = [each.name for each in clusters.list()]
facts["of_group"] = [each.name for each in clusters.list_by_resource_group(name)]
for who in ("user", "admin"):
    found = getattr(clusters, f"list_cluster_{who}_credentials")(name, "cluster")
    facts[who] = [b"clusters:" in bytes(each.value) for each in found.kubeconfigs]
facts["tagged"] = clusters.begin_update_tags(name, "cluster", {"tags": {"a": "b"}}).result().tags
facts["versions"] = bool(clusters.list_kubernetes_versions("westeurope").values_property)
clusters.begin_delete(name, "cluster").result()
try:
    clusters.get(name, "cluster")
except HttpResponseError as exc:
    facts["gone"] = [exc.status_code, exc.error and exc.error.code]
groups.begin_delete(name).result()
print(json.dumps(facts))
