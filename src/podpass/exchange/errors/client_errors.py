"""The refusals of a request as such, of the client, of a secret, and of the resource.

The numbers are Entra's, the sentences are ours. `aadsts` joins these rows with those of `aadsts_users`.
"""

from podpass.exchange.errors.model import Aadsts

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
        meaning="The directory's database is away, held by another program, damaged, or its disk fails.",
        cure="Ask again after Retry-After: service goes on by itself when the database is back. The log has "
        "the cause under the correlation id",
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
        cure="Send the projected token as client_assertion; see whether AZURE_FEDERATED_TOKEN_FILE is set "
        "and its file is not empty",
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

# Told instead of any row of the steps that `uniform` hides.
UNIFORM_ROWS = (
    Aadsts(
        number=70002,
        step="signature",
        error="invalid_client",
        text="The client could not be proved to be who it says.",
        meaning="Something from the client's id to the signature is not as it has to be; the service is set "
        "to not say what (`uniform_refusals`).",
        cure="Look up the correlation id in the service's log, which has the cause",
    ),
)
