"""The refusals of a request as such, and of a client that proves who it is.

The numbers are Entra's, the sentences are ours. `aadsts` joins these rows with those of `aadsts_users`.
"""

from podpass.exchange.refusal import Aadsts

_COMPARE = (
    "Compare the credential's issuer, subject and audience with the token's, letter by letter:"
    " a trailing slash and upper or lower case count"
)

CLIENT_ROWS = (
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
        number=90033,
        step="wire",
        error="temporarily_unavailable",
        text="The directory cannot be read at the moment; please try again.",
        meaning="The directory's database is held by another program, damaged, or its disk fails.",
        cure="Look up the correlation id in the service's log, which has the cause",
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
        meaning="An application signs in to one tenant, and a password is of one; /common and its like name "
        "none. Passwords are answered under /organizations, where the user's name says the tenant.",
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
        meaning="Answered are client_credentials, password, authorization_code, refresh_token and the device "
        "code's.",
        cure="Ask with one of these",
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
        number=7000229,
        step="client",
        error="invalid_client",
        text="The client application {client} has no service principal in the tenant {tenant}.",
        meaning="The application is registered, and nothing of it may act in the tenant yet.",
        cure="Make its service principal: az ad sp create --id CLIENT_ID",
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
        number=7000218,
        step="credential",
        error="invalid_client",
        text="The request must contain the parameter 'client_assertion' or 'client_secret'.",
        meaning="The client is confidential: it must prove who it is, also when a user signs in.",
        cure="Send the client's secret or assertion, or let the application be a public client: "
        "az ad app update --id CLIENT_ID --is-fallback-public-client true",
    ),
    Aadsts(
        number=700025,
        step="credential",
        error="invalid_client",
        text="The client is public: it sends neither client_assertion nor client_secret.",
        meaning="A tool that is built in, or a code of a public client's redirect URI, came with a "
        "credential.",
        cure="Leave the credential out",
    ),
    Aadsts(
        number=7000215,
        step="credential",
        error="invalid_client",
        text="The client secret sent for app '{client}' is not valid. It is the secret's value that "
        "counts, not its id.",
        meaning="No secret of the application is this one; a managed identity has none.",
        cure="Make a new secret (az ad app credential reset), or unset AZURE_CLIENT_SECRET and sign in "
        "with the projected token",
    ),
    Aadsts(
        number=7000222,
        step="credential",
        error="invalid_client",
        text="The client secret of app '{client}' has expired, or is not yet valid.",
        meaning="The secret is the application's, and the time is outside its `startDateTime` and "
        "`endDateTime`.",
        cure="Make a new secret: az ad app credential reset --id CLIENT_ID",
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
        number=501051,
        step="resource",
        error="invalid_grant",
        text="Application '{client}' ({name}) is not assigned to a role for the application "
        "'{resource}'.",
        meaning="The resource's service principal has `appRoleAssignmentRequired`, and the client no "
        "assignment.",
        cure="Assign one of its application roles to the client, or switch the requirement off",
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
