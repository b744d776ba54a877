"""The tested clients: documented minimum versions, newest versions, and how each is started."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.clients import toolchains
from tests.clients.toolchains import NEWEST, OLDEST

GRAPH, MANAGEMENT = "https://graph.microsoft.com", "https://management.azure.com"
NOT_TRIED = "not tried"
IDENTITY = ("default", "chained", "workload")
MSAL = ("string", "callback")
Styles = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ClientPackage:
    """One package at one version.

    `version` is empty for the newest version; `command` and `rotating` return the command line before STYLE
    and scopes; `long_lived` is the style of the rotation test, and `keeps_first` why it is then refused;
    `secret` and `graph` describe clients that do something else.
    """

    language: str
    package: str
    age: str
    version: str
    styles: Styles
    command: Callable[[], list[str]]
    rotating: Callable[[], list[str]]
    long_lived: str = "default"
    keeps_first: str = ""
    rotation: str = "yes"
    has_libc: bool = True
    storage: bool = False
    expected_output: Mapping[str, str] = field(
        default_factory=lambda: {"secret": "hello", "audience": GRAPH}
    )
    says_later: str = MANAGEMENT
    secret: str = "yes"
    graph: str = "yes"

    @property
    def name(self) -> str:
        """Return the name of its pods."""
        package = self.package.partition(" (")[0].removeprefix("@azure/")
        name = f"{self.language}-{package}-{self.age}".lower()
        return name.replace("+", "p").replace(".", "")


def _client(
    language: str,
    package: str,
    age: str,
    version: str,
    styles: Styles,
    command: Callable[[], list[str]],
    **more: Any,
) -> ClientPackage:
    given: dict[str, Any] = {"rotating": command}
    given["long_lived"] = "callback" if styles == MSAL else "default"
    release: dict[str, Any] = {
        "language": language,
        "package": package,
        "age": age,
        "version": version,
    }
    return ClientPackage(**release, styles=styles, command=command, **(given | more))


def _python(package: str, program: str, age: str, version: str, styles: Styles) -> ClientPackage:
    def command() -> list[str]:
        return toolchains.python(program, age)

    return _client("Python", package, age, version, styles, command)


def _node(package: str, program: str, age: str, version: str, styles: Styles) -> ClientPackage:
    def command() -> list[str]:
        return toolchains.node(program, age)

    more = {"long_lived": "default" if styles == IDENTITY else styles[-1]}
    more["keeps_first"] = "no: takes a string only" if styles == ("string",) else ""
    return _client("Node", package, age, version, styles, command, **more)


def _java(package: str, program: str, age: str, version: str, styles: Styles) -> ClientPackage:
    def command() -> list[str]:
        return toolchains.java(program, age)

    once = "no: asks its callback only once" if (package, age) == ("msal4j", OLDEST) else ""
    return _client("Java", package, age, version, styles, command, keeps_first=once)


def _go(package: str, program: str, age: str, version: str, styles: Styles) -> ClientPackage:
    def command() -> list[str]:
        return [*toolchains.go("client", age), program]

    def rotating() -> list[str]:
        return [*toolchains.go("rotation", age), program]

    return _client("Go", package, age, version, styles, command, rotating=rotating, has_libc=False)


_OF_STORAGE: dict[str, Any] = {
    "storage": True,
    "expected_output": {"blob": "first"},
    "secret": "a blob of Azurite's",
    "graph": "asks for Storage only",
}


def _cpp(age: str, version: str) -> ClientPackage:
    def command() -> list[str]:
        return toolchains.python("storage", age, "storage-")

    package, styles = "azure-identity (in pyarrow)", ("default",)
    return _client(
        "C++", package, age, version, styles, command, **_OF_STORAGE, says_later="second"
    )


def _rust(library: str, inside: str) -> ClientPackage:
    def command() -> list[str]:
        return [*toolchains.python("rust_storage", NEWEST, "rust-"), library]

    # It measures token lifetimes with the monotonic clock, which cannot be advanced.
    more = {**_OF_STORAGE, "rotation": NOT_TRIED}
    return _client("Rust", f"{library} (with {inside})", NEWEST, "", ("default",), command, **more)


def _dotnet(package: str, bundled: str) -> ClientPackage:
    def command() -> list[str]:
        return [*toolchains.azmcp(), bundled]

    more: dict[str, Any] = {"expected_output": {"secret": "hello"}, "says_later": "hello"}
    more["graph"] = "asks for Key Vault only"
    package, styles = f"{package} (in @azure/mcp)", ("default", "workload")
    return _client(".NET", package, NEWEST, "", styles, command, **more)


PYTHON_STYLES = (*IDENTITY, *(f"aio-{style}" for style in IDENTITY))

CLIENTS = (
    _python("azure-identity", "azure_identity", OLDEST, "1.13.0", PYTHON_STYLES),
    _python("azure-identity", "azure_identity", NEWEST, "", PYTHON_STYLES),
    _python("msal", "msal_app", OLDEST, "1.22.0", MSAL),
    _python("msal", "msal_app", NEWEST, "", MSAL),
    _node("@azure/identity", "azure_identity", OLDEST, "3.2.0", IDENTITY),
    _node("@azure/identity", "azure_identity", NEWEST, "", IDENTITY),
    _node("@azure/msal-node", "msal", OLDEST, "1.18.4", ("string",)),
    _node("@azure/msal-node", "msal", NEWEST, "", MSAL),
    _java("azure-identity", "AzureIdentity", OLDEST, "1.9.0", IDENTITY),
    _java("azure-identity", "AzureIdentity", NEWEST, "1.18.2", IDENTITY),
    _java("msal4j", "Msal", OLDEST, "1.13.9", MSAL),
    _java("msal4j", "Msal", NEWEST, "1.23.1", MSAL),
    _go("azidentity", "identity", OLDEST, "1.3.0", IDENTITY),
    _go("azidentity", "identity", NEWEST, "1.15.0", IDENTITY),
    _go("msal", "msal", OLDEST, "1.0.0", MSAL),
    _go("msal", "msal", NEWEST, "1.10.1", MSAL),
    _cpp(OLDEST, "1.6.0"),
    _cpp(NEWEST, ""),
    _rust("obstore", "object_store"),
    _rust("opendal", "reqsign"),
    _dotnet("Azure.Identity", "Azure.Identity"),
    _dotnet("MSAL.NET", "Microsoft.Identity.Client"),
)

MISSING = ((".NET", "Azure.Identity", "1.9.0", "no package that is served carries this release"),)
"""Documented clients that the registries of these tests lack: language to reason."""
