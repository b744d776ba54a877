"""What DNS zones of Azure have in common: type, limits, and the record sets that each zone has itself."""

TYPE = "Microsoft.Network/dnsZones"
LOCATION = "global"
APEX = "@"
MAX_RECORD_SETS = 10_000
ALIAS = "CNAME"
# What a new zone of Azure DNS has. podpass answers for its zones itself, and these servers know none of them.
NAME_SERVERS = (
    "ns1-01.azure-dns.com.",
    "ns2-01.azure-dns.net.",
    "ns3-01.azure-dns.org.",
    "ns4-01.azure-dns.info.",
)
HOSTMASTER = "azuredns-hostmaster.microsoft.com"
SOA_TTL, NS_TTL = 3600, 172_800
SOA_NUMBERS = {
    "serialNumber": 1,
    "refreshTime": 3600,
    "retryTime": 300,
    "expireTime": 2_419_200,
    "minimumTTL": 300,
}
