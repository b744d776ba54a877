"""The errors of a request, of the client, of a client secret, and of the resource.

The numbers are Entra's, the texts are podpass's. `catalogue` joins these entries with the others.
"""

from podpass.exchange.errors import numbers
from podpass.exchange.errors.model import AadstsEntry

CLIENT_ROWS = (
    AadstsEntry(
        number=numbers.METHOD_NOT_ALLOWED,
        step="wire",
        error="invalid_request",
        text="The token endpoint accepts only POST requests; this was a {method} request.",
        cause="The method of the request is not POST.",
        resolution="Send the request as POST with a form in its body",
    ),
    AadstsEntry(
        number=numbers.MALFORMED_REQUEST,
        step="wire",
        error="invalid_request",
        text="The request is malformed: {reason}.",
        cause="The form cannot be parsed or decompressed, has a parameter twice, is too large, or has "
        "contradictory parameters.",
        resolution="Send each parameter once, as UTF-8 in application/x-www-form-urlencoded, below 64 KiB, "
        "with one credential, without Content-Encoding or with gzip",
    ),
    AadstsEntry(
        number=numbers.INTERNAL_ERROR,
        step="wire",
        error="server_error",
        text="The token service had an internal error.",
        cause="A bug of the service; its log has the cause under the correlation ID.",
        resolution="Search the service's log for the correlation ID, and report the error",
    ),
    AadstsEntry(
        number=numbers.DIRECTORY_UNAVAILABLE,
        step="wire",
        error="temporarily_unavailable",
        text="The directory is temporarily unavailable; please try again.",
        cause="The directory's database is unreachable, locked by another program or damaged, or its disk "
        "fails.",
        resolution="Retry after the time in Retry-After: the service recovers automatically when the "
        "database is "
        "available. The log has the cause under the correlation ID",
    ),
    AadstsEntry(
        number=numbers.MALFORMED_TENANT,
        step="tenant",
        error="invalid_request",
        text="The tenant identifier '{tenant}' is neither a tenant ID nor a domain name.",
        cause="The first segment of the path is not a valid tenant name.",
        resolution="Use the tenant ID (AZURE_TENANT_ID) or one of the tenant's domains",
    ),
    AadstsEntry(
        number=numbers.UNKNOWN_TENANT,
        step="tenant",
        error="invalid_request",
        text="Tenant '{tenant}' was not found. Check the tenant ID, and that this is the right cloud.",
        cause="No tenant of this directory has this ID or domain.",
        resolution="Compare AZURE_TENANT_ID with the tenants of this directory (`podpass status`)",
    ),
    AadstsEntry(
        number=numbers.TENANT_NOT_SPECIFIC,
        step="tenant",
        error="invalid_request",
        text="The grant '{grant}' is not supported under /{tenant}; use a specific tenant.",
        cause="An application signs in to one tenant, and a password belongs to one tenant; /common and "
        "similar "
        "paths name none. The password grant is supported under /organizations, where the user name has the "
        "tenant's domain.",
        resolution="Use the tenant ID in the path: set AZURE_TENANT_ID",
    ),
    AadstsEntry(
        number=numbers.MISSING_PARAMETER,
        step="request",
        error="invalid_request",
        text="The request body must contain the parameter '{name}'.",
        cause="A parameter is missing or empty, or the body was not sent as a form.",
        resolution="Add the parameter; the body's type must be application/x-www-form-urlencoded",
    ),
    AadstsEntry(
        number=numbers.UNSUPPORTED_GRANT,
        step="request",
        error="unsupported_grant_type",
        text="The grant type '{grant}' is not supported.",
        cause="The supported grant types are client_credentials, password, authorization_code, "
        "refresh_token and "
        "the device code grant.",
        resolution="Use a supported grant type",
    ),
    AadstsEntry(
        number=numbers.RESOURCE_PARAMETER,
        step="request",
        error="invalid_request",
        text="The parameter 'resource' is not supported on this endpoint.",
        cause="`resource` is a parameter of /oauth2/token; /oauth2/v2.0/token requires `scope`.",
        resolution="Send scope=<resource>/.default",
    ),
    AadstsEntry(
        number=numbers.UNKNOWN_CLIENT,
        step="client",
        error="unauthorized_client",
        text="Application with identifier '{client}' was not found in the directory '{tenant}'.",
        cause="No managed identity or application of this tenant has this client ID.",
        resolution="Compare AZURE_CLIENT_ID, or the ServiceAccount's azure.workload.identity/client-id, with "
        "`podpass identity list`; the identity may belong to another tenant",
    ),
    AadstsEntry(
        number=numbers.CLIENT_DISABLED,
        step="client",
        error="unauthorized_client",
        text="Application '{client}' ({name}) is disabled.",
        cause="The identity exists but is disabled.",
        resolution="Enable the identity, or use another one",
    ),
    AadstsEntry(
        number=numbers.NO_SERVICE_PRINCIPAL,
        step="client",
        error="invalid_client",
        text="The client application {client} has no service principal in the tenant {tenant}.",
        cause="The application is registered, but has no service principal in the tenant.",
        resolution="Create its service principal: az ad sp create --id CLIENT_ID",
    ),
    AadstsEntry(
        number=numbers.CREDENTIAL_MISSING,
        step="credential",
        error="invalid_client",
        text="One of 'client_assertion', 'client_secret' or 'request' is required for the "
        "'client_credentials' grant.",
        cause="The request has no client credential.",
        resolution="Send the projected token as client_assertion; check that AZURE_FEDERATED_TOKEN_FILE "
        "is set "
        "and that its file is not empty",
    ),
    AadstsEntry(
        number=numbers.CREDENTIAL_REQUIRED,
        step="credential",
        error="invalid_client",
        text="The request must contain the parameter 'client_assertion' or 'client_secret'.",
        cause="The client is confidential: it must authenticate, also when a user signs in.",
        resolution="Send the client's secret or assertion, or make the application a public client: "
        "az ad app update --id CLIENT_ID --is-fallback-public-client true",
    ),
    AadstsEntry(
        number=numbers.CLIENT_IS_PUBLIC,
        step="credential",
        error="invalid_client",
        text="The client is public: it must send neither client_assertion nor client_secret.",
        cause="A built-in tool, or a code of a public client's redirect URI, was sent with a client "
        "credential.",
        resolution="Remove the credential from the request",
    ),
    AadstsEntry(
        number=numbers.WRONG_SECRET,
        step="credential",
        error="invalid_client",
        text="The client secret sent for app '{client}' is not valid. Send the value of the secret, not "
        "its ID.",
        cause="The application has no such secret; a managed identity has no secrets.",
        resolution="Create a new secret (az ad app credential reset), or unset AZURE_CLIENT_SECRET and "
        "sign in "
        "with the projected token",
    ),
    AadstsEntry(
        number=numbers.SECRET_NOT_CURRENT,
        step="credential",
        error="invalid_client",
        text="The client secret of app '{client}' has expired, or is not yet valid.",
        cause="The application has this secret, but the current time is not between its `startDateTime` and "
        "`endDateTime`.",
        resolution="Create a new secret: az ad app credential reset --id CLIENT_ID",
    ),
    AadstsEntry(
        number=numbers.INVALID_SCOPE,
        step="resource",
        error="invalid_scope",
        text="The value of the parameter 'scope' is not valid. The scope {scope} is not valid.",
        cause="The scope has no resource, or mixes /.default with other scopes.",
        resolution="Request one scope: the resource's URI and /.default",
    ),
    AadstsEntry(
        number=numbers.SCOPE_WITHOUT_DEFAULT,
        step="resource",
        error="invalid_scope",
        text="The value of scope {scope} is not valid. The client credentials grant requires a resource "
        "identifier with the suffix /.default.",
        cause="The scope does not end in /.default.",
        resolution="Use a scope like https://vault.azure.net/.default instead of a single permission",
    ),
    AadstsEntry(
        number=numbers.SCOPE_OF_TWO_RESOURCES,
        step="resource",
        error="invalid_request",
        text="The scope {scope} names more than one resource.",
        cause="A token is for one resource.",
        resolution="Send one request for each resource",
    ),
    AadstsEntry(
        number=numbers.UNKNOWN_RESOURCE,
        step="resource",
        error="invalid_resource",
        text="The resource principal named {resource} was not found in the tenant named {tenant}.",
        cause="No resource of this tenant has this URI or ID.",
        resolution="Check the spelling of the scope; vaults and storage in a sovereign cloud have other "
        "names",
    ),
    AadstsEntry(
        number=numbers.NO_ROLE_ASSIGNED,
        step="resource",
        error="invalid_grant",
        text="Application '{client}' ({name}) is not assigned to a role for the application "
        "'{resource}'.",
        cause="The resource's service principal has `appRoleAssignmentRequired`, and the client has no "
        "assignment.",
        resolution="Assign one of its app roles to the client, or turn off `appRoleAssignmentRequired`",
    ),
    AadstsEntry(
        number=numbers.UNKNOWN_INSTANCE,
        step="wire",
        error="invalid_instance",
        text="The instance is unknown or not valid.",
        cause="Instance discovery was requested for a host that this service does not serve.",
        resolution="Compare AZURE_AUTHORITY_HOST with `podpass status`, or turn off instance discovery",
    ),
)

# Returned instead of every error whose step is in `uniform.HIDDEN_STEPS`.
UNIFORM_ROWS = (
    AadstsEntry(
        number=numbers.CLIENT_NOT_AUTHENTICATED,
        step="signature",
        error="invalid_client",
        text="The client could not be authenticated.",
        cause="One of the checks from the client ID to the signature failed; the setting "
        "`uniform_refusals` hides "
        "which.",
        resolution="Search the service's log for the correlation ID: the log has the cause",
    ),
)
