"""Azure's clouds: the host names and URIs of each, for a token service that replaces that of a cloud.

A setting selects the cloud that the clients of a self-hosted service are configured for. The names of the
clouds are those of `az cloud list`.

Source: https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud, MSAL and az. The
        version 1 issuer of an isolated cloud is not published; the one of the public cloud is used.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from podpass import names

_EXCHANGE = "api://AzureADTokenExchange"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """The host names and URIs of one cloud.

    `aliases` are the hosts of its token service, the canonical one first; `vaults` and `managers` are the
    resource URIs of Key Vault and Resource Manager.
    """

    name: str
    aliases: tuple[str, ...]
    instance: str
    graph: str
    old_graph: str = ""
    roles: str = ""
    sts: str = "sts.windows.net"
    cache: str = ""
    exchange_audience: str = _EXCHANGE
    vaults: tuple[str, ...]
    managers: tuple[str, ...]

    @property
    def graphs(self) -> tuple[str, ...]:
        """Return the resource URIs of Microsoft Graph."""
        return (f"https://{self.graph}",)

    @property
    def login(self) -> str:
        """Return the canonical host of the token service."""
        return self.aliases[0]

    def v1_issuer(self, tenant_id: str) -> str:
        """Return the issuer of a tenant's version 1 access tokens; it does not depend on the host."""
        return f"https://{self.sts}/{tenant_id}/"


PUBLIC = Cloud(
    name="AzureCloud",
    aliases=names.LOGIN_ALIASES,
    instance="microsoftonline.com",
    graph=names.GRAPH_HOST,
    old_graph="graph.windows.net",
    roles="https://pas.windows.net",
    cache="login.windows.net",
    vaults=("https://vault.azure.net",),
    managers=("https://management.azure.com", "https://management.core.windows.net"),
)
_GOVERNMENT = Cloud(
    name="AzureUSGovernment",
    aliases=("login.microsoftonline.us", "login.usgovcloudapi.net"),
    instance="microsoftonline.us",
    graph="graph.microsoft.us",
    old_graph="graph.windows.net",
    roles="https://pasff.usgovcloudapi.net",
    exchange_audience=_EXCHANGE + "USGov",
    vaults=("https://vault.usgovcloudapi.net",),
    managers=("https://management.usgovcloudapi.net", "https://management.core.usgovcloudapi.net"),
)
_CHINA = Cloud(
    name="AzureChinaCloud",
    aliases=("login.partner.microsoftonline.cn", "login.chinacloudapi.cn"),
    instance="partner.microsoftonline.cn",
    graph="microsoftgraph.chinacloudapi.cn",
    old_graph="graph.chinacloudapi.cn",
    roles="https://pas.chinacloudapi.cn",
    sts="sts.chinacloudapi.cn",
    exchange_audience=_EXCHANGE + "China",
    vaults=("https://vault.azure.cn",),
    managers=("https://management.chinacloudapi.cn", "https://management.core.chinacloudapi.cn"),
)
_GERMANY = Cloud(
    name="AzureGermanCloud",
    aliases=("login.microsoftonline.de",),
    instance="microsoftonline.de",
    graph="graph.microsoft.de",
    old_graph="graph.cloudapi.de",
    sts="sts.microsoftonline.de",
    vaults=("https://vault.microsoftazure.de",),
    managers=("https://management.microsoftazure.de", "https://management.core.cloudapi.de"),
)


def _isolated_cloud(name: str, country: str) -> Cloud:
    return Cloud(
        name=name,
        aliases=(f"login.sovcloud-identity.{country}",),
        instance=f"sovcloud-identity.{country}",
        graph=f"graph.svc.sovcloud.{country}",
        vaults=(f"https://vault.sovcloud-api.{country}",),
        managers=(
            f"https://management.sovcloud-api.{country}",
            f"https://management.core.sovcloud-api.{country}",
        ),
    )


CLOUDS: Mapping[str, Cloud] = {
    cloud.name: cloud
    for cloud in (
        PUBLIC,
        _GOVERNMENT,
        _CHINA,
        _GERMANY,
        _isolated_cloud("AzureBleuCloud", "fr"),
        _isolated_cloud("AzureDelosCloud", "de"),
        _isolated_cloud("AzureGovSGCloud", "sg"),
    )
}


def find_cloud(host: str) -> Cloud | None:
    """Return the cloud whose token service has a host name."""
    return next((cloud for cloud in CLOUDS.values() if host in cloud.aliases), None)
