"""Azure's public regions, and those in which a managed identity cannot have federated credentials. Pure.

Source:  https://learn.microsoft.com/azure/reliability/regions-list
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Region:
    """A region; `pair` is empty if it has no paired region."""

    name: str
    display_name: str
    group: str
    geography: str
    physical_location: str
    latitude: str
    longitude: str
    pair: str


_TABLE = """
eastus|East US|US|United States|Virginia|37.3719|-79.8164|westus
eastus2|East US 2|US|United States|Virginia|36.6681|-78.3889|centralus
southcentralus|South Central US|US|United States|Texas|29.4167|-98.5|northcentralus
westus2|West US 2|US|United States|Washington|47.233|-119.852|westcentralus
westus3|West US 3|US|United States|Arizona|33.448376|-112.074036|eastus
australiaeast|Australia East|Asia Pacific|Australia|New South Wales|-33.86|151.2094|australiasoutheast
southeastasia|Southeast Asia|Asia Pacific|Asia Pacific|Singapore|1.283|103.833|eastasia
northeurope|North Europe|Europe|Europe|Ireland|53.3478|-6.2597|westeurope
swedencentral|Sweden Central|Europe|Sweden|Gävle|60.67488|17.14127|swedensouth
uksouth|UK South|Europe|United Kingdom|London|50.941|-0.799|ukwest
westeurope|West Europe|Europe|Europe|Netherlands|52.3667|4.9|northeurope
centralus|Central US|US|United States|Iowa|41.5908|-93.6208|eastus2
southafricanorth|South Africa North|Africa|South Africa|Johannesburg|-25.73134|28.21837|southafricawest
centralindia|Central India|Asia Pacific|India|Pune|18.5822|73.9197|southindia
eastasia|East Asia|Asia Pacific|Asia Pacific|Hong Kong|22.267|114.188|southeastasia
indonesiacentral|Indonesia Central|Asia Pacific|Indonesia|Jakarta|-6.1753|106.8272|
japaneast|Japan East|Asia Pacific|Japan|Tokyo, Saitama|35.68|139.77|japanwest
japanwest|Japan West|Asia Pacific|Japan|Osaka|34.6939|135.5022|japaneast
koreacentral|Korea Central|Asia Pacific|Korea|Seoul|37.5665|126.978|koreasouth
malaysiawest|Malaysia West|Asia Pacific|Malaysia|Kuala Lumpur|3.1390|101.6869|
malaysiasouth|Malaysia South|Asia Pacific|Malaysia|Johor Bahru|1.4927|103.7414|
newzealandnorth|New Zealand North|Asia Pacific|New Zealand|Auckland|-36.84853|174.76349|
canadacentral|Canada Central|Canada|Canada|Toronto|43.653|-79.383|canadaeast
austriaeast|Austria East|Europe|Austria|Vienna|48.2201|16.3798|
francecentral|France Central|Europe|France|Paris|46.3772|2.373|francesouth
germanywestcentral|Germany West Central|Europe|Germany|Frankfurt|50.110924|8.682127|germanynorth
italynorth|Italy North|Europe|Italy|Milan|45.46888|9.18109|
norwayeast|Norway East|Europe|Norway|Norway|59.913868|10.752245|norwaywest
polandcentral|Poland Central|Europe|Poland|Warsaw|52.23334|21.01666|
spaincentral|Spain Central|Europe|Spain|Madrid|40.4259|-3.4209|
switzerlandnorth|Switzerland North|Europe|Switzerland|Zurich|47.451542|8.564572|switzerlandwest
mexicocentral|Mexico Central|Mexico|Mexico|Querétaro State|20.588818|-100.389888|
uaenorth|UAE North|Middle East|UAE|Dubai|25.266666|55.316666|uaecentral
brazilsouth|Brazil South|South America|Brazil|Sao Paulo State|-23.55|-46.633|southcentralus
chilecentral|Chile Central|South America|Chile|Santiago|-33.447487|-70.673676|
israelcentral|Israel Central|Middle East|Israel|Israel|31.2655698|33.4506633|
qatarcentral|Qatar Central|Middle East|Qatar|Doha|25.551462|51.439327|
northcentralus|North Central US|US|United States|Illinois|41.8819|-87.6278|southcentralus
westus|West US|US|United States|California|37.783|-122.417|eastus
jioindiawest|Jio India West|Asia Pacific|India|Jamnagar|22.470701|70.05773|
westcentralus|West Central US|US|United States|Wyoming|40.89|-110.234|westus2
southafricawest|South Africa West|Africa|South Africa|Cape Town|-34.075691|18.843266|southafricanorth
australiacentral|Australia Central|Asia Pacific|Australia|Canberra|-35.3075|149.1244|
australiacentral2|Australia Central 2|Asia Pacific|Australia|Canberra|-35.3075|149.1244|
australiasoutheast|Australia Southeast|Asia Pacific|Australia|Victoria|-37.8136|144.9631|australiaeast
koreasouth|Korea South|Asia Pacific|Korea|Busan|35.1796|129.0756|koreacentral
southindia|South India|Asia Pacific|India|Chennai|12.9822|80.1636|centralindia
westindia|West India|Asia Pacific|India|Mumbai|19.088|72.868|southindia
canadaeast|Canada East|Canada|Canada|Quebec|46.817|-71.217|canadacentral
francesouth|France South|Europe|France|Marseille|43.8345|2.1972|francecentral
germanynorth|Germany North|Europe|Germany|Berlin|53.073635|8.806422|germanywestcentral
norwaywest|Norway West|Europe|Norway|Norway|58.969975|5.733107|norwayeast
swedensouth|Sweden South|Europe|Sweden|Malmö|55.6059|13.0007|swedencentral
switzerlandwest|Switzerland West|Europe|Switzerland|Geneva|46.204391|6.143158|switzerlandnorth
ukwest|UK West|Europe|United Kingdom|Cardiff|53.427|-3.084|uksouth
uaecentral|UAE Central|Middle East|UAE|Abu Dhabi|24.466667|54.366669|uaenorth
brazilsoutheast|Brazil Southeast|South America|Brazil|Rio|-22.90278|-43.2075|brazilsouth
"""

REGIONS = tuple(Region(*line.split("|")) for line in _TABLE.strip().splitlines())
BY_NAME = {region.name: region for region in REGIONS}

# https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations
WITHOUT_FEDERATION = frozenset({"malaysiasouth", "newzealandnorth"})


def normalize(location: str) -> str:
    """Return the short name of a location: `eastus` for `East US`."""
    return location.replace(" ", "").lower()


def to_json(subscription_id: str, region: Region) -> dict[str, Any]:
    """Return a region as an entry of the locations of a subscription."""
    metadata: dict[str, Any] = {
        "regionType": "Physical",
        "regionCategory": "Recommended",
        "geography": region.geography,
        "geographyGroup": region.group,
        "longitude": region.longitude,
        "latitude": region.latitude,
        "physicalLocation": region.physical_location,
        "pairedRegion": [],
    }
    if region.pair:
        metadata["pairedRegion"] = [{"name": region.pair, "id": _id(subscription_id, region.pair)}]
    return {
        "id": _id(subscription_id, region.name),
        "name": region.name,
        "type": "Region",
        "displayName": region.display_name,
        "regionalDisplayName": f"({region.group}) {region.display_name}",
        "metadata": metadata,
    }


def _id(subscription_id: str, name: str) -> str:
    return f"/subscriptions/{subscription_id}/locations/{name}"
