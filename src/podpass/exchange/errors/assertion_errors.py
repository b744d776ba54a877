"""The refusals of an assertion: its shape, who trusts it, whose keys signed it, when it lives.

The numbers are Entra's, the sentences are ours. `aadsts` joins these rows with the others.
"""

from podpass.exchange.errors.model import Aadsts

_COMPARE = (
    "Compare the credential's issuer, subject and audience with the token's, letter by letter:"
    " a trailing slash and upper or lower case count"
)

ASSERTION_ROWS = (
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
        number=700021,
        step="trust",
        error="invalid_client",
        text="The client assertion's issuer and subject are not the parameter 'client_id'.",
        meaning="An assertion that an application signs about itself names another application.",
        cure="Put the client id into `iss` and `sub`",
    ),
    Aadsts(
        number=700023,
        step="trust",
        error="invalid_client",
        text="The client assertion's audience '{audience}' is not this tenant.",
        meaning="An assertion that an application signs itself is for the tenant's token endpoint or "
        "issuer, and no other.",
        cure="Put https://login.microsoftonline.com/TENANT_ID/v2.0 into `aud`",
    ),
    Aadsts(
        number=700222,
        step="trust",
        error="invalid_client",
        text="Tokens issued by this service may not be used for federated identity flows.",
        meaning="The assertion is a token of this service, and of version 1, or sent for a managed identity: "
        "a managed identity's token opens applications only.",
        cure="Send the pod's projected token, or a managed identity's for api://AzureADTokenExchange",
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
        cure="Project the token with an audience that the credential lists; the webhook's is "
        "api://AzureADTokenExchange unless it was told otherwise. " + _COMPARE,
    ),
    Aadsts(
        number=7002121,
        step="trust",
        error="invalid_client",
        text="No federated identity record matches the audience '{audience}' of the presented assertion, "
        "which this service issued.",
        meaning="A managed identity's token is sent as credential, and the credential of this issuer names "
        "another audience.",
        cure="Ask for the token with scope api://AzureADTokenExchange/.default, and give the credential "
        "the audience api://AzureADTokenExchange",
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
        number=700236,
        step="trust",
        error="invalid_client",
        text="Tokens issued by '{issuer}' may not serve as federated credential in this tenant.",
        meaning="A credential trusts the tokens of another tenant of this service; a managed identity "
        "serves in its own tenant only.",
        cure="Let the managed identity and the application be of one tenant",
    ),
    Aadsts(
        number=700227,
        step="trust",
        error="invalid_client",
        text="The presented assertion is for another audience than the exchange.",
        meaning="A token for a resource, such as Key Vault, is sent as credential. Its receiver could "
        "otherwise become its sender.",
        cure="Ask for a token of its own: scope=api://AzureADTokenExchange/.default",
    ),
    Aadsts(
        number=700229,
        step="trust",
        error="invalid_client",
        text="The presented assertion is of a type that may not serve as credential; an application's "
        "token may.",
        meaning="A token of a person who signed in is sent as credential.",
        cure="Let a managed identity ask for the token",
    ),
    Aadsts(
        number=700226,
        step="trust",
        error="invalid_client",
        text="Only a managed identity's token may serve as federated credential of this issuer.",
        meaning="The token is an application's, or of a managed identity that is deleted or disabled, or "
        "its subject is not who it was given to.",
        cure="Use a managed identity, or prove the application by a credential of its own",
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
        meaning="The issuer does not publish a key of this `kid`: it was withdrawn, or is not yet "
        "published.",
        cure="Publish the key the tokens are signed with, wait until caches have aged, renew the token",
    ),
    Aadsts(
        number=700027,
        step="key",
        error="invalid_client",
        text="The client assertion is not signed with a certificate of the application: {reason}.",
        meaning="No certificate of the application has the thumbprint in the header (`x5t#S256`, `x5t` or "
        "`kid`), or its key did not sign this assertion.",
        cure="Register the certificate: az ad app credential reset --id CLIENT_ID --cert @FILE",
    ),
    Aadsts(
        number=1000502,
        step="key",
        error="invalid_client",
        text="The application's certificate is outside the time it is valid for.",
        meaning="The certificate has expired, or its time has not come.",
        cure="Register a new certificate",
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
)
