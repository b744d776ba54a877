"""Every refusal of the token service: number, OAuth error, what is true then, and what to do.

`TABLE` is the only place that knows them; the edge and the documentation read it. The
numbers are Entra's, the sentences are ours.
"""

import re
from dataclasses import dataclass
from typing import Self

from podpass.errors import Error

# The order in which a request is judged, once for code, log and documentation: a request with two faults
# is refused for the earlier one, and nothing is fetched before `trust` has found a credential.
STEPS = (
    "wire",
    "tenant",
    "request",
    "client",
    "credential",
    "assertion",
    "trust",
    "lifetime",
    "issuer",
    "key",
    "signature",
    "time",
    "resource",
)

_STATUS = {"invalid_client": 401, "server_error": 500}
_SHOWN_CHARS = 600
_GRANT_CHARS = 64
# A form joined by the wrong sign, or a value in the wrong variable, puts a token where a name belongs.
_TOKEN = re.compile(r"eyJ[\w-]{10,}[\w.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Aadsts:
    """One kind of refusal.

    Shapes:  `text` is a template over the refusal's facts; `step` one of STEPS.
    """

    number: int
    step: str
    error: str
    text: str
    meaning: str
    cure: str

    @property
    def status(self) -> int:
        return _STATUS.get(self.error, 400)

    @property
    def name(self) -> str:
        return f"AADSTS{self.number}"


class Refused(Error):
    """A token request is refused; the number says why, the facts say on which values."""

    code = "refused"

    def __init__(self, number: int, **facts: object) -> None:
        self.entry = TABLE[number]
        super().__init__(self.entry.text.format_map({k: _fact(k, v) for k, v in facts.items()}))
        self.facts = facts
        self.hint = self.entry.cure
        self.error = self.entry.error
        self.step = self.entry.step
        self.status = self.entry.status

    def answered(
        self, *, error: str | None = None, step: str | None = None, status: int | None = None
    ) -> Self:
        """Change how this one case is answered, where Entra's wire or our order differs."""
        self.error = error or self.error
        self.step = step or self.step
        self.status = status or _STATUS.get(self.error, 400)
        return self

    @property
    def checked(self) -> tuple[str, ...]:
        """Name the steps that had been passed."""
        return STEPS[: STEPS.index(self.step)]


def _fact(name: str, value: object) -> str:
    # A grant type is a word; what comes after `;` or `&` is the rest of a form, and may be a secret.
    return shown(
        re.split("[;&]", str(value), maxsplit=1)[0][:_GRANT_CHARS] if name == "grant" else value
    )


def shown(value: object) -> str:
    """Write a value from outside so that it stays one bounded line and shows no token."""
    text = _TOKEN.sub("[token]", value if isinstance(value, str) else str(value))
    if not text.isprintable():
        text = "".join(sign if sign.isprintable() else "?" for sign in text)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."


_COMPARE = (
    "Compare the credential's issuer, subject and audience with the token's, letter by letter:"
    " a trailing slash and upper or lower case count"
)

_ENTRIES = (
    Aadsts(
        number=900561,
        step="wire",
        error="invalid_request",
        text="The token endpoint is asked by POST; this was a {method}.",
        meaning="The request's method is not POST.",
        cure="Send the request as POST with a form in its body",
    ),
    Aadsts(
        number=9002313,
        step="wire",
        error="invalid_request",
        text="The request is malformed: {reason}.",
        meaning="The form cannot be read, names a parameter twice, is too large, or contradicts itself.",
        cure="Send each parameter once, as UTF-8 in application/x-www-form-urlencoded, below 64 KiB, "
        "with one kind of credential",
    ),
    Aadsts(
        number=50000,
        step="wire",
        error="server_error",
        text="The token service failed while it answered.",
        meaning="A fault of the service itself; its log has the cause under the correlation id.",
        cure="Look up the correlation id in the service's log, and report what it says",
    ),
    Aadsts(
        number=900023,
        step="tenant",
        error="invalid_request",
        text="The tenant identifier '{tenant}' is neither an id nor a domain name.",
        meaning="The first part of the path cannot name a tenant.",
        cure="Use the tenant's id (AZURE_TENANT_ID) or one of its domains",
    ),
    Aadsts(
        number=90002,
        step="tenant",
        error="invalid_request",
        text="Tenant '{tenant}' was not found. Check the tenant id, and that this is the right cloud.",
        meaning="No tenant has this id or domain here.",
        cure="Compare AZURE_TENANT_ID with the tenants of this directory (`podpass status`)",
    ),
    Aadsts(
        number=9001023,
        step="tenant",
        error="invalid_request",
        text="The grant '{grant}' is not answered under /{tenant}; use a tenant of your own.",
        meaning="An application signs in to one tenant; /common and its like name none.",
        cure="Put the tenant's id into the path: set AZURE_TENANT_ID",
    ),
    Aadsts(
        number=900144,
        step="request",
        error="invalid_request",
        text="The request body must contain the parameter '{name}'.",
        meaning="A parameter is missing or empty, or the body was not sent as a form.",
        cure="Add the parameter; the body's type must be application/x-www-form-urlencoded",
    ),
    Aadsts(
        number=70003,
        step="request",
        error="unsupported_grant_type",
        text="The grant type '{grant}' is not supported.",
        meaning="Only client_credentials is answered here.",
        cure="Ask with grant_type=client_credentials",
    ),
    Aadsts(
        number=901002,
        step="request",
        error="invalid_request",
        text="The parameter 'resource' is not supported on this endpoint.",
        meaning="`resource` belongs to /oauth2/token; /oauth2/v2.0/token takes `scope`.",
        cure="Send scope=<resource>/.default",
    ),
    Aadsts(
        number=700016,
        step="client",
        error="unauthorized_client",
        text="Application with identifier '{client}' was not found in the directory '{tenant}'.",
        meaning="No managed identity or application of this tenant has this client id.",
        cure="Compare AZURE_CLIENT_ID, or the account's azure.workload.identity/client-id, with "
        "`podpass identity list`; perhaps it belongs to another tenant",
    ),
    Aadsts(
        number=7000112,
        step="client",
        error="unauthorized_client",
        text="Application '{client}' ({name}) is disabled.",
        meaning="The identity is there, and switched off.",
        cure="Enable the identity, or use another",
    ),
    Aadsts(
        number=7000216,
        step="credential",
        error="invalid_client",
        text="One of 'client_assertion', 'client_secret' or 'request' is required for the "
        "'client_credentials' grant.",
        meaning="The request proves nothing about who sends it.",
        cure="Send the projected token as client_assertion: is AZURE_FEDERATED_TOKEN_FILE set, and its "
        "file not empty?",
    ),
    Aadsts(
        number=7000215,
        step="credential",
        error="invalid_client",
        text="The client secret sent for app '{client}' is not valid.",
        meaning="A secret was sent; identities here have none.",
        cure="Unset AZURE_CLIENT_SECRET and sign in with the projected token",
    ),
    Aadsts(
        number=50027,
        step="assertion",
        error="invalid_request",
        text="The JWT is invalid or malformed: {reason}.",
        meaning="The assertion is not a compact JWS of three base64url parts with unique JSON members.",
        cure="Send the token file's content as it is; `podpass token inspect FILE` shows what is in it",
    ),
    Aadsts(
        number=5002727,
        step="assertion",
        error="invalid_request",
        text="The JWT's header type must be 'JWT' or 'http://openid.net/specs/jwt/1.0'.",
        meaning="`typ` says that this token was made for something else, such as an access token.",
        cure="Send a projected ServiceAccount token, not an access token",
    ),
    Aadsts(
        number=5002738,
        step="assertion",
        error="invalid_client",
        text="The JWT's algorithm '{alg}' is not supported; supported are '{supported}'.",
        meaning="`alg` is missing, `none`, symmetric, or of a kind that is not accepted.",
        cure="Let the issuer sign with an RSA key and RS256",
    ),
    Aadsts(
        number=5002723,
        step="assertion",
        error="invalid_client",
        text="The JWT's header names neither a key id nor a certificate thumbprint.",
        meaning="Without `kid` there is no telling which of the issuer's keys signed.",
        cure="Let the issuer put `kid` into its tokens, as kube-apiserver does",
    ),
    Aadsts(
        number=90014,
        step="assertion",
        error="invalid_request",
        text="The required field '{claim}' is missing from the credential.",
        meaning="A claim is missing or of a wrong type: iss, sub, aud, exp; nbf if there is one.",
        cure="Send a projected ServiceAccount token; `podpass token inspect FILE` shows its claims",
    ),
    Aadsts(
        number=700222,
        step="trust",
        error="invalid_client",
        text="Tokens issued by this service may not be used for federated identity flows.",
        meaning="The assertion's issuer is the token service itself.",
        cure="Send the pod's projected token, not an access token",
    ),
    Aadsts(
        number=70025,
        step="trust",
        error="invalid_client",
        text="The client '{client}' ({name}) has no configured federated identity credentials.",
        meaning="The identity trusts nobody yet.",
        cure="Add a federated credential with the cluster's issuer and the account's subject",
    ),
    Aadsts(
        number=700211,
        step="trust",
        error="invalid_client",
        text="No federated identity record matches the presented assertion's issuer '{issuer}'.",
        meaning="No credential of the identity has this issuer. It has not been contacted.",
        cure=_COMPARE + "; the cluster's issuer is in `podpass status`",
    ),
    Aadsts(
        number=700212,
        step="trust",
        error="invalid_client",
        text="No federated identity record matches the presented assertion's audience '{audience}'.",
        meaning="A credential has this issuer, and another audience.",
        cure="Project the token with audience api://AzureADTokenExchange, as the webhook does; "
        + _COMPARE,
    ),
    Aadsts(
        number=7002138,
        step="trust",
        error="invalid_client",
        text="No federated identity record matches the presented assertion's subject '{subject}'. "
        "It matches when upper and lower case are ignored, which is not enough.",
        meaning="A credential differs from the token in upper or lower case of the subject only.",
        cure="Write the credential's subject in the very letters of the token",
    ),
    Aadsts(
        number=700213,
        step="trust",
        error="invalid_client",
        text="No federated identity record matches the presented assertion's subject '{subject}'.",
        meaning="Issuer and audience fit a credential; it trusts another ServiceAccount.",
        cure="The subject is system:serviceaccount:NAMESPACE:NAME of the pod's account. "
        + _COMPARE,
    ),
    Aadsts(
        number=70023,
        step="lifetime",
        error="invalid_client",
        text="The external token must live no longer than {longest} seconds. It was issued at {issued} and "
        "expires at {expires}.",
        meaning="`exp` - `iat` is over 25 hours; a missing `iat` counts as 1970.",
        cure="Ask for a token of 24 hours at most "
        "(azure.workload.identity/service-account-token-expiration)",
    ),
    Aadsts(
        number=501661,
        step="issuer",
        error="invalid_request",
        text="The request to the external OIDC endpoint failed.",
        meaning="The issuer's discovery document or keys cannot be fetched, or are unfit: not HTTPS, "
        "redirected, not public, too large, too slow, another `issuer` inside. The log says which.",
        cure="Fetch {issuer}/.well-known/openid-configuration from outside the cluster and compare its "
        "`issuer` letter by letter",
    ),
    Aadsts(
        number=7000272,
        step="key",
        error="invalid_client",
        text="The key with identifier {key} that signed the token is not in the metadata of identity "
        "provider {issuer}.",
        meaning="The issuer does not publish a key of this `kid`: it was withdrawn, or is not yet published.",
        cure="Publish the key the tokens are signed with, wait until caches have aged, renew the token",
    ),
    Aadsts(
        number=7000274,
        step="signature",
        error="invalid_client",
        text="The client assertion's signature is not valid.",
        meaning="The issuer's key of this `kid` did not sign this token.",
        cure="Renew the token; if it stays, the published key and the signing key differ under one `kid`",
    ),
    Aadsts(
        number=700024,
        step="time",
        error="invalid_client",
        text="The client assertion is not within its time. Current time: {now}, valid from {begins}, "
        "expiry: {expires}.",
        meaning="The token has expired, or is from the future.",
        cure="Read the token file anew for each request: the kubelet renews it; compare the clocks",
    ),
    Aadsts(
        number=70011,
        step="resource",
        error="invalid_scope",
        text="The value of the parameter 'scope' is not valid. The scope {scope} is not valid.",
        meaning="The scope names no resource, or mixes /.default with other scopes.",
        cure="Ask for one scope: the resource's URI and /.default",
    ),
    Aadsts(
        number=1002012,
        step="resource",
        error="invalid_scope",
        text="The value of scope {scope} is not valid. The client credentials grant takes a resource "
        "identifier with /.default after it.",
        meaning="The scope does not end in /.default.",
        cure="Write https://vault.azure.net/.default rather than a single permission",
    ),
    Aadsts(
        number=700022,
        step="resource",
        error="invalid_request",
        text="The scope {scope} names more than one resource.",
        meaning="A token is for one resource.",
        cure="Ask once for each resource",
    ),
    Aadsts(
        number=500011,
        step="resource",
        error="invalid_resource",
        text="The resource principal named {resource} was not found in the tenant named {tenant}.",
        meaning="Nothing in this tenant is known by this URI or id.",
        cure="Check the scope's spelling; a sovereign cloud's vaults and storage have other names",
    ),
    Aadsts(
        number=50049,
        step="wire",
        error="invalid_instance",
        text="The instance is unknown or not valid.",
        meaning="Instance discovery was asked about a host that this service does not serve.",
        cure="Compare AZURE_AUTHORITY_HOST with `podpass status`, or switch instance discovery off",
    ),
)

TABLE = {entry.number: entry for entry in _ENTRIES}
