"""Numbers that Entra answers and this service never does: people paste them here all the same.

What they mean is from Microsoft's documentation and from published reports; the sentences are ours.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """One kind of refusal that only Entra knows."""

    number: int
    error: str
    meaning: str
    cure: str


_POLICY = (
    "An administrator of the tenant has forbidden workload identity federation, or this issuer."
)
_ASK = "Ask the tenant's administrators for an exception, or use an issuer that the policy allows"

ELSEWHERE_ROWS = (
    Elsewhere(
        number=70021,
        error="invalid_client",
        meaning="The number until 2023 for an assertion that no credential matches; now 700211, 700212 or "
        "700213 say which part does not.",
        cure="Compare the credential's issuer, subject and audience with the token's, letter by letter",
    ),
    Elsewhere(
        number=7002131,
        error="invalid_client",
        meaning="The subject matches no credential, and one of the candidates is a flexible one, whose "
        "expression does not match either.",
        cure="Compare the token's claims with the expression: a wildcard stands for any text, case counts",
    ),
    Elsewhere(
        number=7002137,
        error="invalid_client",
        meaning="A subject of the form /eid1/c/pub/t/TENANT/a/... is wanted for this issuer.",
        cure="Write the credential's subject in the form that the message shows",
    ),
    Elsewhere(number=700223, error="invalid_client", meaning=_POLICY, cure=_ASK),
    Elsewhere(number=700238, error="invalid_client", meaning=_POLICY, cure=_ASK),
    Elsewhere(
        number=7002381,
        error="invalid_client",
        meaning="A policy of the tenant wants the token to say that it comes from the organisation's own "
        "part of a shared issuer, such as GitHub's `enterprise` claim, and it does not.",
        cure="Let the issuer put the claim into its tokens, or ask for an exception from the policy",
    ),
    Elsewhere(
        number=90061,
        error="invalid_request",
        meaning="An earlier number for 501661: the issuer's documents could not be fetched or read.",
        cure="Fetch {issuer}/.well-known/openid-configuration from outside the cluster",
    ),
    Elsewhere(
        number=50166,
        error="invalid_request",
        meaning="An earlier number for 501661: the issuer's documents could not be fetched or read.",
        cure="Fetch {issuer}/.well-known/openid-configuration from outside the cluster",
    ),
    Elsewhere(
        number=7000214,
        error="invalid_client",
        meaning="The application's certificate has been revoked by whoever issued it.",
        cure="Register a new certificate",
    ),
    Elsewhere(
        number=7000277,
        error="invalid_client",
        meaning="The application's certificate has been revoked by whoever issued it.",
        cure="Register a new certificate",
    ),
    Elsewhere(
        number=70001,
        error="unauthorized_client",
        meaning="The application is not in the tenant, or disabled there; 700016 and 7000112 say which.",
        cure="Compare AZURE_CLIENT_ID and AZURE_TENANT_ID with the application's page",
    ),
    Elsewhere(
        number=28002,
        error="invalid_scope",
        meaning="The scope's value is not valid for the grant.",
        cure="Ask for one scope: the resource's URI and /.default",
    ),
    Elsewhere(
        number=28003,
        error="invalid_request",
        meaning="The scope is empty.",
        cure="Ask for one scope: the resource's URI and /.default",
    ),
    Elsewhere(
        number=50001,
        error="invalid_resource",
        meaning="The resource is not known in the tenant: what the managed identity endpoint and older v1.0 "
        "answers say for 500011.",
        cure="Check the resource's spelling, and that its application is in this tenant",
    ),
    Elsewhere(
        number=5000224,
        error="invalid_request",
        meaning="The tenant has been closed or blocked.",
        cure="Use another tenant, or ask its administrators",
    ),
    Elsewhere(
        number=53003,
        error="invalid_grant",
        meaning="A conditional access policy blocks the sign-in.",
        cure="Look up the sign-in in the tenant's log: it names the policy",
    ),
    Elsewhere(
        number=65001,
        error="invalid_grant",
        meaning="Nobody has consented to what the application asks for.",
        cure="Let an administrator consent to the application's permissions",
    ),
)
