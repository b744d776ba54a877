"""Microsoft's built-in policies for the issuers of a managed identity's credentials. Pure.

Both have the effect Audit by default. A policy compares texts without regard to case.

Source: https://github.com/Azure/azure-policy, built-in-policies/policyDefinitions/Managed Identity:
        FIC_LimitToWellknownIssuers.json, FIC_LimitToAzureKubernetesIssuer.json
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from podpass.directory.claims_expression import GITHUB_ISSUER
from podpass.directory.resource_ids import covers

WELL_KNOWN_ISSUERS = "2571b7c3-3056-4a61-b00a-9bc5232234f5"
AKS_ISSUERS = "ae62c456-33de-4dc8-b100-7ce9028a7d99"
EFFECTS = ("Audit", "Deny", "Disabled")

_SUBSCRIPTION = "/subscriptions/"
_AKS_SUFFIX = ".oic.prod-aks.azure.com"
_SWITCH_OF_ISSUER = {
    GITHUB_ISSUER: "allowGitHub",
    "https://cognito-identity.amazonaws.com": "allowAWS",
    "https://accounts.google.com": "allowGCS",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemption:
    """An exemption from an assignment at a scope; `text` is its name, category and expiry."""

    scope: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerPolicy:
    """An assigned policy; a parameter that is not given has the default of the definition.

    `scope`, `excluded` and `exemptions` limit the credentials; a policy of a seed has no assignment and no
    scope, and applies to all.
    """

    definition: str
    parameters: Mapping[str, Any]
    assignment: str = ""
    scope: str = ""
    excluded: tuple[str, ...] = ()
    exemptions: tuple[Exemption, ...] = ()
    is_enforced: bool = True

    def __str__(self) -> str:
        assignment = f", assigned by {self.assignment}," if self.assignment else ""
        return f"the policy {self.definition}{assignment}"

    @property
    def is_enabled(self) -> bool:
        """Return whether the policy reports or denies credentials."""
        return str(self.parameters.get("effect")).lower() != "disabled"

    def applies_to(self, resource_id: str) -> bool:
        """Return whether a resource is in the scope."""
        return is_in_scope(self.scope, resource_id) and not any(
            covers(each, resource_id) for each in self.excluded
        )

    def find_exemption(self, resource_id: str) -> Exemption | None:
        """Return an exemption of a resource; None if there is none."""
        return next((x for x in self.exemptions if is_in_scope(x.scope, resource_id)), None)

    def find_refusal(self, issuer: str) -> str | None:
        """Return why the policy refuses an issuer; None if it does not."""
        return DEFINITIONS[self.definition].find_refusal(self.parameters, issuer)


def is_in_scope(scope: str, resource_id: str) -> bool:
    """Return whether a scope contains a resource.

    Resource Manager lists assignments and exemptions of only those management groups that contain the
    subscription.
    """
    return covers(scope, resource_id) or is_management_group(scope)


def is_management_group(scope: str) -> bool:
    """Return whether a scope is a management group."""
    return not scope.lower().startswith(_SUBSCRIPTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDefinition:
    """A built-in policy: the names of its parameters by type, and its rule."""

    switches: Collection[str]
    lists: Collection[str]
    find_refusal: Callable[[Mapping[str, Any], str], str | None]


def _find_well_known(parameters: Mapping[str, Any], issuer: str) -> str | None:
    if not parameters.get("allowFederatedCredentials"):
        return "allowFederatedCredentials is false"
    switch = _SWITCH_OF_ISSUER.get(issuer.lower())
    if _segment(issuer, 2).endswith(_AKS_SUFFIX):
        switch = "allowAKS"
    if switch is not None:
        return None if parameters.get(switch) else f"{switch} is false"
    if issuer.lower() in _lowered(parameters, "allowedIssuerExceptions"):
        return None
    return "the issuer is not in allowedIssuerExceptions"


def _find_cluster(parameters: Mapping[str, Any], issuer: str) -> str | None:
    host = _segment(issuer, 2)
    if not host.endswith(_AKS_SUFFIX):
        return None
    if _segment(issuer, 4) in _lowered(parameters, "allowedClusterExceptions"):
        return None
    for name, value in (
        ("allowedLocations", host.partition(".")[0]),
        ("allowedTenants", _segment(issuer, 3)),
    ):
        allowed = _lowered(parameters, name)
        if allowed and value not in allowed:
            return f"{value} is not in {name}"
    return None


def _segment(issuer: str, place: int) -> str:
    """Return a part between slashes: 2 is the host, 3 the tenant and 4 the cluster of an issuer of AKS."""
    parts = issuer.lower().split("/")
    return parts[place] if place < len(parts) else ""


def _lowered(parameters: Mapping[str, Any], name: str) -> frozenset[str]:
    return frozenset(str(each).lower() for each in parameters.get(name, ()))


DEFINITIONS: Mapping[str, PolicyDefinition] = {
    WELL_KNOWN_ISSUERS: PolicyDefinition(
        switches=("allowFederatedCredentials", "allowAKS", *_SWITCH_OF_ISSUER.values()),
        lists=("allowedIssuerExceptions",),
        find_refusal=_find_well_known,
    ),
    AKS_ISSUERS: PolicyDefinition(
        switches=(),
        lists=("allowedTenants", "allowedLocations", "allowedClusterExceptions"),
        find_refusal=_find_cluster,
    ),
}
