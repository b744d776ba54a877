"""Azure's clouds: the names that each goes by, for a token service that stands in for one of them.

A self-hosted service is told by a setting which cloud its clients believe to be in. Names of clouds are
those of `az cloud list`.

Source: https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud, and what MSAL and
        az know. What an isolated cloud calls its version 1 issuer is not published; the public one here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from podpass import names

_EXCHANGE = "api://AzureADTokenExchange"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """What one cloud calls its parts.

    Shapes:  `aliases` are the hosts of its token service, the one it writes itself first; `vaults` and
             `managers` the URIs under which tokens for Key Vault and Resource Manager are asked for.
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
        return (f"https://{self.graph}",)

    @property
    def login(self) -> str:
        return self.aliases[0]

    def v1_issuer(self, tenant_id: str) -> str:
        """Name the issuer of a tenant's version 1 access tokens, whatever host they were asked of."""
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


def _isolated(name: str, country: str) -> Cloud:
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
        _isolated("AzureBleuCloud", "fr"),
        _isolated("AzureDelosCloud", "de"),
        _isolated("AzureGovSGCloud", "sg"),
    )
}


def of_host(host: str) -> Cloud | None:
    """Find the cloud whose token service goes by a host name."""
    return next((cloud for cloud in CLOUDS.values() if host in cloud.aliases), None)
