"""azure-mgmt-dns: a zone, its record sets, conditions and errors. It prints results as JSON."""

import json
import sys
from collections.abc import Callable

from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.mgmt.dns import DnsManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient

subscription, group = sys.argv[1:]
credential = DefaultAzureCredential()
groups = ResourceManagementClient(credential, subscription).resource_groups
client = DnsManagementClient(credential, subscription)
zone, zones, sets = "peer.test", client.zones, client.record_sets


def refused(call: Callable[[], object]) -> list[object]:
    try:
        call()
    except HttpResponseError as exc:
        return [exc.status_code, exc.error and exc.error.code]
    return []


def text(*values: str) -> dict[str, object]:
    return {"ttl": 60, "txt_records": [{"value": [value]} for value in values]}


groups.create_or_update(group, {"location": "westeurope"})
created = zones.create_or_update(group, zone, {"location": "global"})
facts: dict[str, object] = {
    "zone": [created.name, created.location, created.zone_type, created.number_of_record_sets],
    "tags": zones.update(group, zone, {"tags": {"use": "test"}}).tags,
    "zones": [each.name for each in zones.list_by_resource_group(group)],
}

first = sets.create_or_update(group, zone, "www", "TXT", text("one"), if_none_match="*")
facts["fqdn"] = first.fqdn
facts["exists"] = refused(
    lambda: sets.create_or_update(group, zone, "www", "TXT", text("two"), if_none_match="*")
)
second = sets.create_or_update(group, zone, "www", "TXT", text("one", "two"), if_match=first.etag)
facts["texts"] = [each.value for each in second.txt_records]
facts["changed"] = refused(lambda: sets.delete(group, zone, "www", "TXT", if_match=first.etag))
facts["ttl"] = sets.update(group, zone, "www", "TXT", {"ttl": 7}).ttl
facts["long"] = refused(lambda: sets.update(group, zone, "www", "TXT", text("x" * 256)))
sets.create_or_update(
    group, zone, "a", "A", {"ttl": 5, "a_records": [{"ipv4_address": "192.0.2.1"}]}
)
facts["alias"] = refused(
    lambda: sets.create_or_update(
        group, zone, "a", "CNAME", {"ttl": 5, "cname_record": {"cname": "b.test"}}
    )
)
listed = sets.list_by_dns_zone(group, zone, top=1)
facts["listed"] = [f"{each.type.rpartition('/')[2]}/{each.name}" for each in listed]
facts["of_type"] = [each.name for each in sets.list_by_type(group, zone, "TXT")]
facts["servers"] = len(sets.get(group, zone, "@", "NS").ns_records)
facts["no_zone"] = refused(lambda: zones.get(group, "missing.test"))
facts["no_parent"] = refused(lambda: sets.get(group, "missing.test", "www", "TXT"))
sets.delete(group, zone, "www", "TXT")
facts["no_record"] = refused(lambda: sets.get(group, zone, "www", "TXT"))
zones.begin_delete(group, zone).result()
facts["gone"] = refused(lambda: zones.get(group, zone))
groups.begin_delete(group).result()
print(json.dumps(facts))
