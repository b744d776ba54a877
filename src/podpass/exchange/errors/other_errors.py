"""AADSTS numbers that only Entra returns. They are explained here because users search for them too.

The causes are from Microsoft's documentation and from published reports; the texts are podpass's.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EntraOnlyEntry:
    """An error that only Entra returns."""

    number: int
    error: str
    cause: str
    resolution: str


_POLICY = "A policy of the tenant forbids workload identity federation, or this issuer."
_ASK = "Ask the tenant's administrators for an exception, or use an issuer that the policy allows"

ENTRA_ONLY_ROWS = (
    EntraOnlyEntry(
        number=70021,
        error="invalid_client",
        cause="No credential matches the assertion. Entra used this number until 2023; now 700211, 700212 "
        "and "
        "700213 name the part that does not match.",
        resolution="Compare the credential's issuer, subject and audience with the token's, character by "
        "character",
    ),
    EntraOnlyEntry(
        number=7002137,
        error="invalid_client",
        cause="This issuer requires a subject of the form /eid1/c/pub/t/TENANT/a/...",
        resolution="Set the credential's subject in the form that the message shows",
    ),
    EntraOnlyEntry(number=700223, error="invalid_client", cause=_POLICY, resolution=_ASK),
    EntraOnlyEntry(number=700238, error="invalid_client", cause=_POLICY, resolution=_ASK),
    EntraOnlyEntry(
        number=7002381,
        error="invalid_client",
        cause="A policy of the tenant requires a claim that identifies the organization at a shared "
        "issuer, such "
        "as GitHub's `enterprise` claim, and the token does not have it.",
        resolution="Configure the issuer to add the claim to its tokens, or ask for an exception from the "
        "policy",
    ),
    EntraOnlyEntry(
        number=90061,
        error="invalid_request",
        cause="An older number for 501661: the issuer's documents could not be fetched or parsed.",
        resolution="Fetch ISSUER/.well-known/openid-configuration from outside the cluster",
    ),
    EntraOnlyEntry(
        number=50166,
        error="invalid_request",
        cause="An older number for 501661: the issuer's documents could not be fetched or parsed.",
        resolution="Fetch ISSUER/.well-known/openid-configuration from outside the cluster",
    ),
    EntraOnlyEntry(
        number=7000214,
        error="invalid_client",
        cause="The issuer of the application's certificate has revoked it.",
        resolution="Register a new certificate",
    ),
    EntraOnlyEntry(
        number=7000277,
        error="invalid_client",
        cause="The issuer of the application's certificate has revoked it.",
        resolution="Register a new certificate",
    ),
    EntraOnlyEntry(
        number=70001,
        error="unauthorized_client",
        cause="The application is not in the tenant (700016) or is disabled (7000112).",
        resolution="Compare AZURE_CLIENT_ID and AZURE_TENANT_ID with the application's page",
    ),
    EntraOnlyEntry(
        number=28002,
        error="invalid_scope",
        cause="The scope's value is not valid for the grant.",
        resolution="Request one scope: the resource's URI and /.default",
    ),
    EntraOnlyEntry(
        number=28003,
        error="invalid_request",
        cause="The scope is empty.",
        resolution="Request one scope: the resource's URI and /.default",
    ),
    EntraOnlyEntry(
        number=50001,
        error="invalid_resource",
        cause="The resource is unknown in the tenant. The managed identity endpoint and older v1.0 "
        "responses use "
        "this number for 500011.",
        resolution="Check the resource's spelling, and that its application is in this tenant",
    ),
    EntraOnlyEntry(
        number=5000224,
        error="invalid_request",
        cause="The tenant was closed or blocked.",
        resolution="Use another tenant, or ask its administrators",
    ),
    EntraOnlyEntry(
        number=53003,
        error="invalid_grant",
        cause="A conditional access policy blocks the sign-in.",
        resolution="Find the sign-in in the tenant's sign-in log: it names the policy",
    ),
)
