"""The decision table of Microsoft's documentation: which library needs which migration step. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from podpass.migration.scan.model import LibraryFinding, Mention, Precision, Result, printable

PYTHON, NODE, GO, JAVA, DOTNET, CPP = "python", "node", "go", "java", ".net", "c++"
_RELEASE = re.compile(
    r"[vV=\s]{0,4}(\d{1,9}(?:\.\d{1,9}){0,5})(?!\d)(.{0,64})", re.DOTALL | re.ASCII
)
_POST = re.compile(r"[.-]?(?:post|final|ga|release)[.\d]*(?![a-z])|\+.*", re.IGNORECASE | re.DOTALL)
_VERSION_LENGTH = 6

VersionKey = tuple[tuple[int, ...], bool]


@dataclass(frozen=True, slots=True)
class Successor:
    """The library of an ecosystem that supports workload identity, since `minimum`."""

    library: str
    minimum: str


# Source: the table of minimum versions on Microsoft's overview page of workload identity on AKS.
SUPPORTED: Mapping[str, Successor] = {
    PYTHON: Successor("azure-identity", "1.13.0"),
    NODE: Successor("@azure/identity", "3.2.0"),
    GO: Successor("github.com/Azure/azure-sdk-for-go/sdk/azidentity", "1.3.0"),
    JAVA: Successor("com.azure:azure-identity", "1.9.0"),
    DOTNET: Successor("Azure.Identity", "1.9.0"),
    CPP: Successor("azure-identity-cpp", "1.6.0"),
}
# Libraries without a version that supports workload identity.
UNSUPPORTED: Mapping[str, frozenset[str]] = {
    PYTHON: frozenset({"adal", "msrestazure"}),
    NODE: frozenset({"adal-node", "@azure/ms-rest-nodeauth", "ms-rest-azure"}),
    GO: frozenset(
        {
            "github.com/Azure/go-autorest/autorest/adal",
            "github.com/Azure/go-autorest/autorest/azure/auth",
        }
    ),
    JAVA: frozenset(
        {"com.microsoft.azure:adal4j", "com.microsoft.azure:azure-client-authentication"}
    ),
    DOTNET: frozenset(
        {
            "Microsoft.IdentityModel.Clients.ActiveDirectory",
            "Microsoft.Azure.Services.AppAuthentication",
        }
    ),
    CPP: frozenset(),
}
# The libraries above use MSAL. For MSAL alone, the program decides whether the token file is used.
MSAL: Mapping[str, frozenset[str]] = {
    PYTHON: frozenset({"msal"}),
    NODE: frozenset({"@azure/msal-node"}),
    GO: frozenset({"github.com/AzureAD/microsoft-authentication-library-for-go"}),
    JAVA: frozenset({"com.microsoft.azure:msal4j"}),
    DOTNET: frozenset({"Microsoft.Identity.Client"}),
    CPP: frozenset(),
}


_ALSO = (
    "the program also has a supported library, so {0} may only be a part of another dependency. If the"
    " program gets its tokens by {0}, it needs the sidecar until that is replaced"
)


def is_known(ecosystem: str, library: str) -> bool:
    """Return whether the table has a row for a library."""
    return (
        SUPPORTED[ecosystem].library == library
        or library in UNSUPPORTED[ecosystem]
        or library in MSAL[ecosystem]
    )


def known_libraries(ecosystem: str) -> frozenset[str]:
    """Return the libraries of an ecosystem that the table has a row for."""
    return UNSUPPORTED[ecosystem] | MSAL[ecosystem] | {SUPPORTED[ecosystem].library}


def decide_all(mentions: Iterable[tuple[str, Mention]]) -> Sequence[LibraryFinding]:
    """Return the findings of a target, sorted; `mentions` are paths and libraries.

    A range counts only if no file has the exact version of the library. MSAL counts only without the library
    of its ecosystem that uses it. A library without support next to a supported one is undecided: both are
    often linked, and only the program decides.
    """
    found = list(dict.fromkeys(mentions))
    exact = {
        (each.ecosystem, each.library) for _, each in found if each.precision is Precision.EXACT
    }
    identity = {
        each.ecosystem for _, each in found if each.library == SUPPORTED[each.ecosystem].library
    }
    counted = [
        (path, each)
        for path, each in found
        if (each.precision is Precision.EXACT or (each.ecosystem, each.library) not in exact)
        and not (each.ecosystem in identity and each.library in MSAL[each.ecosystem])
    ]
    supported = {each.ecosystem for _, each in counted if _decide_step(each)[0] is Result.NONE}
    findings = [_decide(path, each, supported) for path, each in counted]
    order = list(Result)
    return sorted(
        findings,
        key=lambda each: (-order.index(each.result), each.library, each.path, each.version),
    )


def _decide(path: str, mention: Mention, supported: Collection[str]) -> LibraryFinding:
    result, reason = _decide_step(mention)
    if mention.library in UNSUPPORTED[mention.ecosystem] and mention.ecosystem in supported:
        result, reason = Result.CHECK, _ALSO.format(mention.library)
    shown = f">={mention.version}" if mention.precision is Precision.AT_LEAST else mention.version
    return LibraryFinding(
        ecosystem=mention.ecosystem,
        library=printable(mention.library),
        version=printable(shown),
        path=printable(path),
        result=result,
        minimum="" if result is Result.NONE else SUPPORTED[mention.ecosystem].minimum,
        reason=printable(reason),
    )


def _decide_step(mention: Mention) -> tuple[Result, str]:
    wanted = SUPPORTED[mention.ecosystem]
    target = f"{wanted.library} {wanted.minimum} or newer"
    if mention.library in MSAL[mention.ecosystem]:
        return Result.SIDECAR, (
            "MSAL reads no variable of workload identity. A program that passes the token file as client"
            f" assertion needs no step; any other program needs {target}"
        )
    if mention.library != wanted.library:
        return Result.SIDECAR, (
            f"no version of {mention.library} supports workload identity. Replace it by {target}"
        )
    supported = is_at_least(mention.version, wanted.minimum)
    if supported is None or mention.precision is Precision.UNKNOWN:
        return Result.CHECK, f"the file gives no version. Workload identity needs {target}"
    if supported:
        return (
            Result.NONE,
            "DefaultAzureCredential and WorkloadIdentityCredential use the token file",
        )
    if mention.precision is Precision.AT_LEAST:
        return Result.UPDATE, f"the file allows older versions. Require {target}"
    return Result.UPDATE, f"update to at least {wanted.minimum}; use the sidecar until then"


def version_key(version: str) -> VersionKey | None:
    """Return a sort key with a pre-release before its release; None for an invalid version."""
    found = _RELEASE.fullmatch(version.strip())
    if found is None:
        return None
    numbers = tuple(map(int, found[1].split(".")))
    rest = found[2].strip()
    is_release = not rest or _POST.fullmatch(rest) is not None
    return (*numbers, *(0,) * (_VERSION_LENGTH - len(numbers))), is_release


def is_at_least(version: str, minimum: str) -> bool | None:
    """Return whether a version is the minimum or newer; None if one of them is not a version."""
    left, right = version_key(version), version_key(minimum)
    return None if left is None or right is None else left >= right
