"""Microsoft's tools, which every tenant accepts without registration, by their client IDs. Pure data.

They are public clients without a secret, so their codes are sent only to a loopback address.
"""

from dataclasses import dataclass

AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
# kubelogin signs users of a cluster in as this client.
AKS_CLIENT = "80faf920-1908-4b52-b5ef-a8e7bedfc67a"
# The clients of a family accept each other's refresh tokens.
FAMILY = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicClient:
    """A tool: its name, and its client family, which may be empty."""

    id: str
    name: str
    family: str = ""


BUILT_IN = {
    client.id: client
    for client in (
        PublicClient(id=AZURE_CLI, name="Microsoft Azure CLI", family=FAMILY),
        PublicClient(
            id="1950a258-227b-4e31-a9cf-717495945fc2",
            name="Microsoft Azure PowerShell",
            family=FAMILY,
        ),
        PublicClient(
            id="aebc6443-996d-45c2-90f0-388ff96faa56", name="Visual Studio Code", family=FAMILY
        ),
        PublicClient(
            id="872cd9fa-d31f-45e0-9eab-6e460a02d1f1", name="Visual Studio", family=FAMILY
        ),
        PublicClient(
            id="14d82eec-204b-4c2f-b7e8-296a70dab67e", name="Microsoft Graph Command Line Tools"
        ),
        PublicClient(id="579a7132-0e58-4d80-b1e1-7a1e2d337859", name="Azure Storage AzCopy"),
        PublicClient(id=AKS_CLIENT, name="Azure Kubernetes Service AAD Client"),
    )
}


def family_of(client_id: str) -> str:
    """Return the family of a client, or an empty text."""
    client = BUILT_IN.get(client_id)
    return client.family if client is not None else ""
