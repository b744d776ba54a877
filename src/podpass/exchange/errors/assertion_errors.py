"""The errors of an assertion: its form, the matching credential, the issuer's keys, signature, lifetime.

The numbers are Entra's, the texts are podpass's. `catalogue` joins these entries with the others.
"""

from podpass.exchange.errors import issuer_reasons, numbers
from podpass.exchange.errors.model import AadstsEntry

_COMPARE = (
    "Compare the credential's issuer, subject and audience with the token's, character by character:"
    " a trailing slash and case matter"
)

ASSERTION_ROWS = (
    AadstsEntry(
        number=numbers.MALFORMED_ASSERTION,
        step="assertion",
        error="invalid_request",
        text="The JWT is invalid or malformed: {reason}.",
        cause="The assertion is not a compact JWS of three base64url parts with unique JSON members.",
        resolution="Send the content of the token file unchanged; `podpass token inspect FILE` shows its "
        "content",
    ),
    AadstsEntry(
        number=numbers.WRONG_TOKEN_TYPE,
        step="assertion",
        error="invalid_request",
        text="The JWT's header type must be 'JWT' or 'http://openid.net/specs/jwt/1.0'.",
        cause="`typ` says that the token has another type, for example an access token.",
        resolution="Send a projected ServiceAccount token, not an access token",
    ),
    AadstsEntry(
        number=numbers.UNSUPPORTED_ALGORITHM,
        step="assertion",
        error="invalid_client",
        text="The JWT's algorithm '{alg}' is not supported; supported are '{supported}'.",
        cause="`alg` is missing, `none`, symmetric, or not accepted.",
        resolution="Configure the issuer to sign with an RSA key and RS256",
    ),
    AadstsEntry(
        number=numbers.NO_KEY_ID,
        step="assertion",
        error="invalid_client",
        text="The JWT's header has neither a key ID nor a certificate thumbprint.",
        cause="Without `kid`, the service cannot select the issuer's key.",
        resolution="Configure the issuer to add `kid` to its tokens, as kube-apiserver does",
    ),
    AadstsEntry(
        number=numbers.MISSING_CLAIM,
        step="assertion",
        error="invalid_request",
        text="The required field '{claim}' is missing from the credential.",
        cause="A claim is missing or has the wrong type: iss, sub, aud or exp; or nbf has the wrong type. "
        "With `podpass authority --require-pod-claims` or `podpass up --require-pod-claims` also "
        "kubernetes.io.pod: a controller that gets a token by TokenRequest has none.",
        resolution="Send a projected ServiceAccount token; `podpass token inspect FILE` shows its claims",
    ),
    AadstsEntry(
        number=numbers.ASSERTION_OF_OTHER_CLIENT,
        step="trust",
        error="invalid_client",
        text="The client assertion's issuer and subject are not the parameter 'client_id'.",
        cause="A self-signed assertion names another application in `iss` or `sub`.",
        resolution="Set `iss` and `sub` to the client ID",
    ),
    AadstsEntry(
        number=numbers.ASSERTION_FOR_OTHER_TENANT,
        step="trust",
        error="invalid_client",
        text="The client assertion's audience '{audience}' is not this tenant.",
        cause="The audience of a self-signed assertion must be the tenant's token endpoint or issuer.",
        resolution="Set `aud` to https://login.microsoftonline.com/TENANT_ID/v2.0",
    ),
    AadstsEntry(
        number=numbers.OWN_TOKEN,
        step="trust",
        error="invalid_client",
        text="Tokens issued by this service may not be used for federated identity flows.",
        cause="The assertion is a version 1 token of this service, or a token of this service that is "
        "sent to "
        "sign in as a managed identity; only applications accept a managed identity's token.",
        resolution="Send the pod's projected token, or a managed identity's token for "
        "api://AzureADTokenExchange",
    ),
    AadstsEntry(
        number=numbers.NO_CREDENTIALS,
        step="trust",
        error="invalid_client",
        text="The client '{client}' ({name}) has no configured federated identity credentials.",
        cause="The identity has no federated credential.",
        resolution="Add a federated credential with the cluster's issuer and the ServiceAccount's subject",
    ),
    AadstsEntry(
        number=numbers.ISSUER_MISMATCH,
        step="trust",
        error="invalid_client",
        text="No federated identity record matches the presented assertion's issuer '{issuer}'.",
        cause="No credential of the identity has this issuer. The issuer was not contacted.",
        resolution=_COMPARE + "; the cluster's issuer is in `podpass status`",
    ),
    AadstsEntry(
        number=numbers.AUDIENCE_MISMATCH,
        step="trust",
        error="invalid_client",
        text="No federated identity record matches the presented assertion's audience '{audience}'.",
        cause="A credential has this issuer, but another audience.",
        resolution="Project the token with an audience of the credential; the webhook uses "
        "api://AzureADTokenExchange by default. " + _COMPARE,
    ),
    AadstsEntry(
        number=numbers.UNACCEPTED_AUDIENCE,
        step="trust",
        error="invalid_client",
        text="No federated identity record matches the audience '{audience}' of the presented assertion, "
        "which this service issued.",
        cause="A managed identity's token is sent as the credential, and the federated credential with this "
        "issuer has another audience.",
        resolution="Request the token with scope api://AzureADTokenExchange/.default, and set the "
        "credential's "
        "audience to api://AzureADTokenExchange",
    ),
    AadstsEntry(
        number=numbers.SUBJECT_CASE_MISMATCH,
        step="trust",
        error="invalid_client",
        text="No federated identity record matches the presented assertion's subject '{subject}'. "
        "It matches when upper and lower case are ignored, which is not enough.",
        cause="The subject of a credential differs from the token's only in case.",
        resolution="Set the credential's subject to the exact subject of the token",
    ),
    AadstsEntry(
        number=numbers.SUBJECT_MISMATCH,
        step="trust",
        error="invalid_client",
        text="No federated identity record matches the presented assertion's subject '{subject}'.",
        cause="A credential has this issuer and audience, but the subject of another ServiceAccount.",
        resolution="Set the subject to system:serviceaccount:NAMESPACE:NAME of the pod's ServiceAccount. "
        + _COMPARE,
    ),
    AadstsEntry(
        number=numbers.EXPRESSION_MISMATCH,
        step="trust",
        error="invalid_client",
        text="No federated identity record matches the presented assertion's subject '{subject}', and no "
        "expression of a flexible record matches its claims {presented}.",
        cause="A flexible federated credential has this issuer and audience, and its expression does not "
        "match the claims of the token.",
        resolution="Compare each clause with the claim in the token: case matters, `*` matches any text, and "
        "every clause must match",
    ),
    AadstsEntry(
        number=numbers.ISSUER_NOT_PERMITTED,
        step="trust",
        error="invalid_client",
        text="Tokens issued by '{issuer}' may not be used as federated credential in this tenant.",
        cause="The issuer of the credential is another tenant of this service; a managed identity can be "
        "used "
        "only in its own tenant.",
        resolution="Use a managed identity and an application of the same tenant",
    ),
    AadstsEntry(
        number=numbers.TOKEN_NOT_FOR_EXCHANGE,
        step="trust",
        error="invalid_client",
        text="The presented assertion has another audience than the exchange.",
        cause="A token for a resource, such as Key Vault, is sent as the credential. If it were accepted, "
        "the "
        "resource could impersonate the client.",
        resolution="Request a separate token with scope=api://AzureADTokenExchange/.default",
    ),
    AadstsEntry(
        number=numbers.NOT_AN_APP_TOKEN,
        step="trust",
        error="invalid_client",
        text="The presented assertion has a type that may not be used as credential; only an app token may.",
        cause="A token of a user is sent as the credential.",
        resolution="Request the token as a managed identity",
    ),
    AadstsEntry(
        number=numbers.NOT_A_MANAGED_IDENTITY,
        step="trust",
        error="invalid_client",
        text="Only a managed identity's token may be used as federated credential of this issuer.",
        cause="The token belongs to an application, or to a managed identity that is deleted or disabled, or "
        "its subject is not the identity that it was issued to.",
        resolution="Use a managed identity, or authenticate the application with a credential of its own",
    ),
    AadstsEntry(
        number=numbers.SECOND_FEDERATED_HOP,
        step="trust",
        error="invalid_client",
        text="A token that was obtained with a federated credential may not be used as federated credential.",
        cause="The managed identity got this token with a federated credential, for example with a pod's "
        "token or from the migration sidecar. One federated hop is allowed; the application's credential "
        "matches, so no change of it helps.",
        resolution="Add a federated credential with the cluster's issuer and the ServiceAccount's subject to "
        "the application itself, and annotate the ServiceAccount with its client ID. Or authenticate the "
        "application with a certificate, or with a managed identity's token from the managed identity "
        "endpoint of a node, virtual machine or App Service",
    ),
    AadstsEntry(
        number=numbers.LIFETIME_TOO_LONG,
        step="lifetime",
        error="invalid_client",
        text="The lifetime of the external token must not exceed {longest} seconds. It was issued at "
        "{issued} "
        "and expires at {expires}.",
        cause="`exp` - `iat` is over 25 hours; a missing `iat` counts as 1970.",
        resolution="Request a token with a lifetime of 24 hours or less "
        "(azure.workload.identity/service-account-token-expiration)",
    ),
    AadstsEntry(
        number=numbers.ISSUER_UNREACHABLE,
        step="issuer",
        error="invalid_request",
        text="The request to the external OIDC endpoint failed: {reason}.",
        cause="The issuer's discovery document or keys cannot be fetched or are not valid. The message and "
        "the log have the reason.",
        resolution=issuer_reasons.RESOLUTION,
    ),
    AadstsEntry(
        number=numbers.KEY_NOT_PUBLISHED,
        step="key",
        error="invalid_client",
        text="The key with identifier {key} that signed the token is not in the metadata of identity "
        "provider {issuer}.",
        cause="The issuer does not publish a key with this `kid`: it was withdrawn, or is not published yet.",
        resolution="Publish the key that signs the tokens, wait until cached keys expire, renew the token",
    ),
    AadstsEntry(
        number=numbers.CERTIFICATE_NOT_REGISTERED,
        step="key",
        error="invalid_client",
        text="The client assertion is not signed with a certificate of the application: {reason}.",
        cause="No certificate of the application has the thumbprint in the header (`x5t#S256`, `x5t` or "
        "`kid`), or its key did not sign this assertion.",
        resolution="Register the certificate: az ad app credential reset --id CLIENT_ID --cert @FILE",
    ),
    AadstsEntry(
        number=numbers.CERTIFICATE_NOT_CURRENT,
        step="key",
        error="invalid_client",
        text="The application's certificate is outside its validity period.",
        cause="The certificate has expired or is not valid yet.",
        resolution="Register a new certificate",
    ),
    AadstsEntry(
        number=numbers.WRONG_SIGNATURE,
        step="signature",
        error="invalid_client",
        text="The client assertion's signature is not valid.",
        cause="The issuer's key with this `kid` did not sign this token.",
        resolution="Renew the token; if the error remains, the published key and the signing key have the "
        "same "
        "`kid` but differ",
    ),
    AadstsEntry(
        number=numbers.ASSERTION_NOT_CURRENT,
        step="time",
        error="invalid_client",
        text="The client assertion is not within its valid time range. Current time: {now}, valid from "
        "{begins}, "
        "expiry: {expires}.",
        cause="The token has expired or is not valid yet.",
        resolution="Read the token file again for each request, because the kubelet renews it. In a job of a "
        "pipeline, request a new token and run `az login` with it: az stores the first one. Compare the "
        "clocks",
    ),
)
