"""`az rest`: direct calls of Resource Manager and Graph; `az network dns`."""

import json

import pytest

from tests.az.az_cli import AzCli, names
from tests.journey.instance import Instance

pytestmark = [pytest.mark.az, pytest.mark.timeout(1800)]

_VERSION = "api-version=2022-09-01"


def test_resource_manager_is_called_by_every_method(az: AzCli, instance: Instance) -> None:
    group = f"rest-{az.version}"
    path = f"/subscriptions/{instance.status['subscription_id']}/resourceGroups/{group}"
    url = f"{path}?{_VERSION}"
    made = az(f"rest --method put --url {url} --body", json.dumps({"location": "eastus"}))
    assert (made["name"], made["location"]) == (group, "eastus")
    changed = az(f"rest --method patch --url {url} --body", json.dumps({"tags": {"a": "b"}}))
    assert changed["tags"] == {"a": "b"}
    assert az(f"rest --url {url}")["tags"] == {"a": "b"}
    assert az("rest --url /subscriptions?api-version=2022-12-01")["value"][0]["subscriptionId"]
    az(f"rest --method delete --url {url}")
    assert az(f"group exists -n {group}") is False


def test_graph_is_called_by_every_method(az: AzCli) -> None:
    base, name = "https://graph.microsoft.com/v1.0", f"rest-{az.version}"
    body = json.dumps({"displayName": name})
    made = az(f"rest --method post --url {base}/applications --body", body)
    one = f"{base}/applications/{made['id']}"
    az(f"rest --method patch --url {one} --body", json.dumps({"displayName": f"{name}-2"}))
    assert az(f"rest --url {one}?$select=displayName")["displayName"] == f"{name}-2"
    counted = az(
        f"rest --url {base}/applications?$count=true&$top=1 --headers ConsistencyLevel=eventual"
    )
    assert counted["@odata.count"] >= 1
    assert len(counted["value"]) == 1
    az(f"rest --method delete --url {one}")
    assert "Request_ResourceNotFound" in az.refused(f"rest --url {one}")


def test_az_creates_a_zone_and_adds_records(newest: AzCli, group: str) -> None:
    zone = newest(f"network dns zone create -g {group} -n example.test")
    assert (zone["location"], zone["numberOfRecordSets"]) == ("global", 2)
    where = f"-g {group} -z example.test"
    for value in ("one", "two"):
        command = f"network dns record-set txt add-record {where} -n _acme-challenge.www"
        written = newest(f"{command} -v {value}")
    assert [each["value"] for each in written["TXTRecords"]] == [["one"], ["two"]]
    newest(f"network dns record-set a add-record {where} -n www -a 192.0.2.1 --ttl 60")
    newest(f"network dns record-set cname set-record {where} -n alias -c www.example.test")
    listed, text = newest.each(
        f"network dns record-set list {where}", f"network dns record-set txt list {where}"
    )
    assert names(listed) == {"@", "_acme-challenge.www", "www", "alias"}
    assert names(text) == {"_acme-challenge.www"}
    remove = f"network dns record-set txt remove-record {where} -n _acme-challenge.www"
    newest(f"{remove} -v one")
    newest(f"{remove} -v two")
    assert newest(f"network dns record-set txt list {where}") == []
    refused = newest.refused(f"network dns zone create -g {group} -n example.test --if-none-match")
    assert "PreconditionFailed" in refused
    newest(f"network dns zone delete -g {group} -n example.test --yes")
    assert newest(f"network dns zone list -g {group}") == []


def test_graph_beta_creates_a_credential_with_an_expression(az: AzCli) -> None:
    made = az(f"ad app create --display-name flexible-{az.version}")
    url = f"https://graph.microsoft.com/beta/applications/{made['id']}/federatedIdentityCredentials"
    value = "claims['sub'] matches 'repo:contoso@1/app@2:*' and claims['repository_id'] eq '2'"
    body = {
        "name": "flexible",
        "issuer": "https://token.actions.githubusercontent.com",
        "audiences": ["api://AzureADTokenExchange"],
        "claimsMatchingExpression": {"value": value, "languageVersion": 1},
    }
    az(f"rest --method post --url {url} --body", json.dumps(body))
    (listed,) = az(f"rest --url {url}")["value"]
    assert listed["claimsMatchingExpression"] == body["claimsMatchingExpression"]
    without_id = {**body, "name": "other"}
    without_id["claimsMatchingExpression"] = {
        "value": "claims['sub'] matches 'repo:contoso/*'",
        "languageVersion": 1,
    }
    said = az.refused(f"rest --method post --url {url} --body", json.dumps(without_id))
    assert "it needs a clause for sub and one for repository_id" in said
    az(f"ad app delete --id {made['appId']}")
