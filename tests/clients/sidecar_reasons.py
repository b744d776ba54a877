"""Why a client gets no token from the sidecar in a mode, read from the released source of its library."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tests.clients.toolchains import BEFORE, NEWEST, OLDEST

HOST, ENDPOINT, MSI, SECRET = "authority host", "identity endpoint", "MSI endpoint", "MSI secret"
ENV, IPTABLES, IMDS = "env", "iptables", "IMDS"


@dataclass(frozen=True)
class CellReason:
    """Why a cell is not `yes`: for the page, and a pattern of the client's output that shows it."""

    text: str
    output: str = ""


Reasons = Mapping[str, CellReason]

_DIRECT = CellReason(
    "The credential reads `AZURE_FEDERATED_TOKEN_FILE`, which the webhook sets, and exchanges the token"
    " itself."
)
_NOT_READ = CellReason(
    "The library does not read this variable and asks 169.254.169.254.", "169.254.169.254"
)
_FIXED = CellReason("The address 169.254.169.254 is in the code.", "169.254.169.254")
_REFUSED_ID = CellReason(
    "`MSI_ENDPOINT` alone selects the protocol of Cloud Shell, for which the library refuses a client ID.",
    "(?i)cloud ?shell",
)
_NEEDS_SECRET = CellReason(
    "The library reads `MSI_ENDPOINT` only together with `MSI_SECRET`, and asks 169.254.169.254.",
    "169.254.169.254",
)
_REFUSED_WITH_SECRET = CellReason(
    "The library treats `MSI_ENDPOINT` as Cloud Shell's, with and without `MSI_SECRET`, and refuses a client"
    " ID, in this release with a `NullPointerException`.",
    "NullPointerException",
)
_DROPPED_ID = CellReason(
    "The library treats `MSI_ENDPOINT` as Cloud Shell's, with and without `MSI_SECRET`, and sends no client"
    " ID: it gets a token of the pod's own identity, and the vault refuses it.",
    "403 Forbidden",
)
_NO_IDENTITY_SECRET = CellReason(
    "The library reads `IDENTITY_ENDPOINT`, and the secret from `IDENTITY_SECRET` or `MSI_SECRET`, never from"
    " `IDENTITY_HEADER`; without a secret it sends nothing.",
    "IDENTITY_SECRET",
)
_NO_IMDS = CellReason("The function never asks 169.254.169.254.", "IDENTITY_ENDPOINT")
_OTHER_COMMAND = CellReason(
    "The command uses another variable, which is not set.", "no variable names an endpoint"
)

# These two show an error of another credential in the chain, or no address.
_REFUSED_IN_CHAIN = replace(_REFUSED_ID, output="ChainedTokenCredential")
_NOT_READ_BY_AZ = replace(_NOT_READ, output="Failed to connect to MSI")

_PODS = {ENV: _DIRECT, IPTABLES: _DIRECT}
_GO = {HOST: _NOT_READ, MSI: _DROPPED_ID, SECRET: _DROPPED_ID}
_JAVA = {MSI: _REFUSED_WITH_SECRET, SECRET: _REFUSED_WITH_SECRET, **_PODS}
REASONS: Mapping[tuple[str, str, str, str], Reasons] = {
    ("Python", "azure-identity", BEFORE, "managed"): {IPTABLES: _DIRECT},
    ("Python", "azure-identity", BEFORE, "default"): {IPTABLES: _DIRECT},
    ("Python", "azure-identity", NEWEST, "managed"): {MSI: _REFUSED_ID, IPTABLES: _DIRECT},
    ("Python", "azure-identity", NEWEST, "default"): _PODS,
    ("Python", "msrestazure", BEFORE, "msrestazure"): {HOST: _NOT_READ, ENDPOINT: _NOT_READ},
    ("Node", "@azure/identity", BEFORE, "managed"): {IPTABLES: _DIRECT},
    ("Node", "@azure/identity", BEFORE, "default"): {IPTABLES: _DIRECT},
    ("Node", "@azure/identity", NEWEST, "managed"): {MSI: _REFUSED_ID, **_PODS},
    ("Node", "@azure/identity", NEWEST, "default"): {MSI: _REFUSED_IN_CHAIN, **_PODS},
    ("Node", "@azure/ms-rest-nodeauth", BEFORE, "nodeauth-vm"): {
        **dict.fromkeys((HOST, ENDPOINT, MSI, SECRET, ENV), _FIXED)
    },
    ("Node", "@azure/ms-rest-nodeauth", BEFORE, "nodeauth-app"): {
        **dict.fromkeys((HOST, IPTABLES, IMDS), _NO_IMDS),
        **dict.fromkeys((ENDPOINT, MSI, ENV), _NO_IDENTITY_SECRET),
    },
    ("Java", "azure-identity", BEFORE, "managed"): {IPTABLES: _DIRECT},
    ("Java", "azure-identity", BEFORE, "default"): {IPTABLES: _DIRECT},
    ("Java", "azure-identity", NEWEST, "managed"): _JAVA,
    ("Java", "azure-identity", NEWEST, "default"): _JAVA,
    ("Go", "azidentity", BEFORE, "managed"): _GO,
    ("Go", "azidentity", BEFORE, "default"): _GO,
    ("Go", "azidentity", NEWEST, "managed"): {HOST: _NOT_READ, MSI: _REFUSED_ID},
    ("Go", "azidentity", NEWEST, "default"): {HOST: _NOT_READ, MSI: _REFUSED_ID, **_PODS},
    ("Go", "go-autorest/adal", BEFORE, "adal"): {HOST: _NOT_READ, ENDPOINT: _NOT_READ},
    ("az", "azure-cli", OLDEST, "login"): {HOST: _NOT_READ_BY_AZ, ENDPOINT: _NOT_READ_BY_AZ},
    ("az", "azure-cli", NEWEST, "login"): {MSI: _NEEDS_SECRET},
    ("shell", "curl", NEWEST, "imds"): dict.fromkeys((HOST, ENDPOINT, MSI, SECRET, ENV), _FIXED),
    ("shell", "curl", NEWEST, "app-service"): dict.fromkeys(
        (HOST, MSI, SECRET, IPTABLES, IMDS), _OTHER_COMMAND
    ),
    ("shell", "curl", NEWEST, "msi"): dict.fromkeys(
        (HOST, ENDPOINT, IPTABLES, IMDS), _OTHER_COMMAND
    ),
}
