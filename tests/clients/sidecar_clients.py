"""Clients that get tokens from the migration sidecar, and the modes in which they reach it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.az.az_cli import install_az
from tests.clients import toolchains
from tests.clients.installation import PROGRAMS, find_tool
from tests.clients.sidecar_reasons import (
    ENDPOINT,
    ENV,
    HOST,
    IMDS,
    IPTABLES,
    MSI,
    REASONS,
    SECRET,
    Reasons,
)
from tests.clients.toolchains import BEFORE, NEWEST, OLDEST

ORIGIN = "http://127.0.0.1:8000"
_MSI = f"{ORIGIN}/msi/token"
# One variable alone, set by hand: it shows what a library reads.
VARIABLES: Mapping[str, Mapping[str, str]] = {
    HOST: {"AZURE_POD_IDENTITY_AUTHORITY_HOST": ORIGIN},
    ENDPOINT: {"IDENTITY_ENDPOINT": _MSI, "IDENTITY_HEADER": "any"},
    MSI: {"MSI_ENDPOINT": _MSI},
    SECRET: {"MSI_ENDPOINT": _MSI, "MSI_SECRET": "any"},
}
# What a user writes on the pod.
_INJECT = {"azure.workload.identity/inject-proxy-sidecar": "true"}
_MODE = "podpass.azure-workload-identity.io/proxy-mode"
ANNOTATIONS: Mapping[str, Mapping[str, str]] = {
    ENV: {**_INJECT, _MODE: "env"},
    IPTABLES: {**_INJECT, _MODE: "iptables"},
    # The webhook sets no variables of Workload ID here: the libraries have only the redirected address.
    IMDS: {**_INJECT, _MODE: "iptables", "azure.workload.identity/skip-containers": "app"},
}
MODES = (*VARIABLES, *ANNOTATIONS)
YES, DIRECT, NO = "yes", "direct", "no"
WITHOUT, WITH = "without client ID", "with client ID"


@dataclass(frozen=True, kw_only=True)
class SidecarClient:
    """One way to get a token, of one package at one version.

    `style` is the program's name for `credential`; `version` is empty for the newest version.
    """

    language: str
    package: str
    age: str
    version: str
    credential: str
    style: str
    command: Callable[[], list[str]]

    @property
    def reasons(self) -> Reasons:
        """Return why the cells of some modes are not `yes`."""
        return REASONS.get((self.language, self.package, self.age, self.style), {})

    @property
    def name(self) -> str:
        """Return the beginning of the names of its pods."""
        package = self.package.rpartition("/")[2]
        return f"{self.language}-{package}-{self.age}-{self.style}".lower()


_IDENTITY = {"managed": "ManagedIdentityCredential", "default": "DefaultAzureCredential"}


def _python(age: str) -> list[str]:
    return toolchains.python("managed_identity", age)


def _node(age: str) -> list[str]:
    return toolchains.node("managed_identity", age)


def _java(age: str) -> list[str]:
    return toolchains.java("ManagedIdentity", age)


def _az(age: str) -> list[str]:
    return [str(install_az(age)), str(PROGRAMS / "python" / "az_login.py")]


def _curl(_age: str) -> list[str]:
    find_tool("curl")
    return [find_tool("sh"), str(PROGRAMS / "curl.sh")]


def _clients(
    language: str,
    package: str,
    age: str,
    version: str,
    credentials: Mapping[str, str],
    command: Callable[[str], list[str]],
) -> list[SidecarClient]:
    return [
        SidecarClient(
            language=language,
            package=package,
            age=age,
            version=version,
            credential=credential,
            style=style,
            command=lambda: command(age),
        )
        for style, credential in credentials.items()
    ]


_NODEAUTH = {"nodeauth-vm": "loginWithVmMSI", "nodeauth-app": "loginWithAppServiceMSI"}
_ADAL = {"adal": "NewServicePrincipalTokenFromManagedIdentity"}
_CURL = {"imds": "IMDS", "app-service": "App Service", "msi": "App Service 2017, Cloud Shell"}

SIDECAR_CLIENTS = (
    *_clients("Python", "azure-identity", BEFORE, "1.12.0", _IDENTITY, _python),
    *_clients("Python", "azure-identity", NEWEST, "", _IDENTITY, _python),
    *_clients(
        *("Python", "msrestazure", BEFORE, "0.6.4.post1"),
        {"msrestazure": "MSIAuthentication"},
        _python,
    ),
    *_clients("Node", "@azure/identity", BEFORE, "3.1.4", _IDENTITY, _node),
    *_clients("Node", "@azure/identity", NEWEST, "", _IDENTITY, _node),
    *_clients("Node", "@azure/ms-rest-nodeauth", BEFORE, "3.1.1", _NODEAUTH, _node),
    *_clients("Java", "azure-identity", BEFORE, "1.8.3", _IDENTITY, _java),
    *_clients("Java", "azure-identity", NEWEST, "1.18.2", _IDENTITY, _java),
    *_clients("Go", "azidentity", BEFORE, "1.2.2", _IDENTITY, toolchains.go_managed),
    *_clients("Go", "azidentity", NEWEST, "1.15.0", _IDENTITY, toolchains.go_managed),
    *_clients("Go", "go-autorest/adal", BEFORE, "0.9.24", _ADAL, toolchains.go_managed),
    *_clients("az", "azure-cli", OLDEST, "", {"login": "az login --identity"}, _az),
    *_clients("az", "azure-cli", NEWEST, "", {"login": "az login --identity"}, _az),
    *_clients("shell", "curl", NEWEST, "", _CURL, _curl),
)
