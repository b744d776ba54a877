"""The names of the cloud that a service emulates, and its origin in documents and tokens."""

import pytest

from podpass import names
from podpass.clouds import CLOUDS, PUBLIC, Cloud, find_cloud
from podpass.directory import resources
from podpass.exchange.origins import Origins
from tests.exchange.world import Start, World

OTHERS = [cloud for cloud in CLOUDS.values() if cloud is not PUBLIC]


async def get(world: World, path: str, host: str = "") -> dict[str, object]:
    headers = {"Host": host} if host else {}
    return (await world.send(path, method="GET", headers=headers)).body


@pytest.mark.parametrize("cloud", OTHERS, ids=lambda cloud: cloud.name)
async def test_documents_tokens_and_keys_have_the_names_of_the_cloud(
    start: Start, cloud: Cloud
) -> None:
    origins = tuple(f"https://{alias}" for alias in cloud.aliases)
    world = await start(origins=origins, cloud=cloud.name, graph_origin="https://localhost:1")
    tenant, host = world.TENANT, cloud.aliases[-1]
    v2 = await get(world, f"/{tenant}/v2.0/.well-known/openid-configuration", host)
    assert v2["issuer"] == f"https://{cloud.login}/{tenant}/v2.0"
    assert v2["token_endpoint"] == f"https://{cloud.login}/{tenant}/oauth2/v2.0/token"
    assert v2["cloud_instance_name"] == cloud.instance
    assert v2["msgraph_host"] == cloud.graph
    assert v2["userinfo_endpoint"] == f"https://{cloud.graph}/oidc/userinfo"
    assert v2.get("cloud_graph_host_name", "") == cloud.old_graph
    assert v2.get("rbac_url", "") == cloud.roles
    v1 = await get(world, f"/{tenant}/.well-known/openid-configuration", host)
    assert v1["issuer"] == f"https://{cloud.sts}/{tenant}/"
    keys = await get(world, f"/{tenant}/discovery/v2.0/keys", host)
    assert [each["cloud_instance_name"] for each in keys["keys"]] == [cloud.instance] * 2  # type: ignore[attr-defined]
    assert (await world.request_token()).claims()["iss"] == v1["issuer"]
    realm = await get(world, "/common/UserRealm/a@contoso.test")
    assert realm["cloud_instance_name"] == cloud.instance


def test_host_names_and_audiences_of_each_cloud_are_the_documented_ones() -> None:
    """The test repeats the names of each cloud, so that a change of the table fails."""
    us, china = CLOUDS["AzureUSGovernment"], CLOUDS["AzureChinaCloud"]
    assert (us.login, us.instance) == ("login.microsoftonline.us", "microsoftonline.us")
    assert (us.sts, us.graph) == ("sts.windows.net", "graph.microsoft.us")
    assert us.exchange_audience == "api://AzureADTokenExchangeUSGov"
    assert china.aliases == ("login.partner.microsoftonline.cn", "login.chinacloudapi.cn")
    assert china.v1_issuer("t") == "https://sts.chinacloudapi.cn/t/"
    assert china.exchange_audience == "api://AzureADTokenExchangeChina"
    assert CLOUDS["AzureGermanCloud"].aliases == ("login.microsoftonline.de",)
    assert PUBLIC.v1_issuer("t") == names.v1_issuer("t")


def test_each_host_belongs_to_one_cloud() -> None:
    hosts = [alias for cloud in CLOUDS.values() for alias in cloud.aliases]
    assert len(hosts) == len(set(hosts))
    assert find_cloud("login.microsoftonline.us") is CLOUDS["AzureUSGovernment"]
    for host in ("", "microsoftonline.us", "login.microsoftonline.us.evil.test"):
        assert find_cloud(host) is None


@pytest.mark.parametrize("cloud", OTHERS, ids=lambda cloud: cloud.name)
def test_microsoft_resources_have_the_names_of_the_cloud(cloud: Cloud) -> None:
    known = resources.Resources(resources.resources_of_cloud(cloud))
    for app_id, uris in (
        (resources.VAULT_APP_ID, cloud.vaults),
        (resources.MANAGER_APP_ID, cloud.managers),
        (resources.GRAPH_APP_ID, cloud.graphs),
        (resources.EXCHANGE_APP_ID, (cloud.exchange_audience,)),
    ):
        for uri in uris:
            found = known.find(uri)
            assert found is not None
            assert found.app_id == app_id
    assert resources.Resources().find(cloud.vaults[0]) is None


@pytest.mark.parametrize("cloud", CLOUDS.values(), ids=lambda cloud: cloud.name)
def test_instance_discovery_accepts_the_authority_of_every_cloud(cloud: Cloud) -> None:
    origins = Origins(("https://login.internal.test",))
    for alias in cloud.aliases:
        assert (
            origins.for_endpoint(f"https://{alias}/t/oauth2/v2.0/authorize") == f"https://{alias}"
        )
        assert origins.for_endpoint(f"https://{alias}:8443/t/oauth2/v2.0/authorize") is None
        assert origins.for_endpoint(f"http://{alias}/t/oauth2/v2.0/authorize") is None


async def test_instance_discovery_lists_every_cloud(world: World) -> None:
    query = "api-version=1.1&authorization_endpoint=https://login.microsoftonline.us/t/oauth2/v2.0/authorize"
    body = await get(world, f"/common/discovery/instance?{query}")
    where = "https://login.microsoftonline.us/t/v2.0/.well-known/openid-configuration"
    assert body["tenant_discovery_endpoint"] == where
    listed = {each["preferred_network"]: each for each in body["metadata"]}  # type: ignore[attr-defined]
    assert set(listed) == {cloud.login for cloud in CLOUDS.values()}
    assert listed["login.microsoftonline.com"]["preferred_cache"] == "login.windows.net"
    china = listed["login.partner.microsoftonline.cn"]
    assert china["aliases"] == ["login.partner.microsoftonline.cn", "login.chinacloudapi.cn"]


ORIGINS = Origins(("https://login.test", "https://localhost:8443", "https://localhost:9443"))


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("login.test", "https://login.test"),
        ("LOGIN.test:443", "https://login.test"),
        ("localhost:8443", "https://localhost:8443"),
        ("localhost:9443", "https://localhost:9443"),
        ("localhost", "https://localhost:8443"),
        ("localhost:1", "https://login.test"),
        ("evil.test", "https://login.test"),
        ("login.test.evil.test", "https://login.test"),
        ("login.test@evil.test", "https://login.test"),
        ("login.test:8443", "https://login.test"),
        ("", "https://login.test"),
        (None, "https://login.test"),
    ],
)
def test_unknown_host_is_never_echoed(host: str | None, origin: str) -> None:
    assert ORIGINS.for_host(host) == origin
