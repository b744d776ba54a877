"""The errors of a user's sign-in by password, authorization code, device code or refresh token.

The numbers are Entra's, the texts are podpass's. The sign-in pages and the token endpoint share some entries.
"""

from podpass.exchange.errors import numbers
from podpass.exchange.errors.model import AadstsEntry

_SIGN_IN_AGAIN = "Sign in again"

USER_ROWS = (
    AadstsEntry(
        number=numbers.NO_TENANT,
        step="tenant",
        error="invalid_request",
        text="Neither the request nor the user name identifies a tenant.",
        cause="The path has `organizations`, and the user name has no domain.",
        resolution="Use the full user name, as `podpass status` shows it for the admin, or use the tenant "
        "in the path",
    ),
    AadstsEntry(
        number=numbers.UNSUPPORTED_RESPONSE_TYPE,
        step="request",
        error="unsupported_response_type",
        text="The response type '{value}' is not supported; only 'code' is.",
        cause="The sign-in page issues only authorization codes; the token endpoint issues tokens.",
        resolution="Use response_type=code",
    ),
    AadstsEntry(
        number=numbers.UNSUPPORTED_RESPONSE_MODE,
        step="request",
        error="invalid_request",
        text="The response mode '{value}' is not supported.",
        cause="`response_mode` is not query, fragment or form_post.",
        resolution="Use response_mode=form_post",
    ),
    AadstsEntry(
        number=numbers.INVALID_CODE_CHALLENGE,
        step="request",
        error="invalid_request",
        text="The code challenge is not valid for S256.",
        cause="`code_challenge` is not 43 characters of base64url, or `code_challenge_method` is not S256. "
        "Entra accepts `plain` too, which protects nothing.",
        resolution="Send code_challenge_method=S256 and the base64url of the verifier's SHA-256",
    ),
    AadstsEntry(
        number=numbers.NOT_MULTI_TENANT,
        step="client",
        error="invalid_request",
        text="Application '{client}' ({name}) is not multi-tenant; it cannot be used under /common and "
        "/organizations.",
        cause="The application's `signInAudience` is AzureADMyOrg, and the path names no tenant.",
        resolution="Use the tenant ID in the path",
    ),
    AadstsEntry(
        number=numbers.NO_REDIRECT_URI,
        step="client",
        error="invalid_request",
        text="No reply address is registered for the application.",
        cause="The application has no redirect URI.",
        resolution="Register one: az ad app update --public-client-redirect-uris or --web-redirect-uris",
    ),
    AadstsEntry(
        number=numbers.REDIRECT_URI_NOT_REGISTERED,
        step="client",
        error="invalid_request",
        text="The redirect URI '{redirect}' is not registered for application '{client}'.",
        cause="A redirect URI must match exactly; only the port of http://localhost may differ. Built-in "
        "tools "
        "have http://localhost.",
        resolution="Register the exact URI that the client sends",
    ),
    AadstsEntry(
        number=numbers.INVALID_GRANT,
        step="grant",
        error="invalid_grant",
        text="The grant is not valid: {reason}.",
        cause="The code or refresh token was not issued by this service, was changed, or belongs to another "
        "client.",
        resolution=_SIGN_IN_AGAIN,
    ),
    AadstsEntry(
        number=numbers.GRANT_OF_OTHER_TENANT,
        step="grant",
        error="invalid_grant",
        text="The grant was issued in another tenant.",
        cause="A code or refresh token is redeemed in a tenant that it was not issued in.",
        resolution="Use the tenant in which the user signed in",
    ),
    AadstsEntry(
        number=numbers.CODE_REDEEMED,
        step="grant",
        error="invalid_grant",
        text="The authorization code was already redeemed.",
        cause="A code can be redeemed once.",
        resolution=_SIGN_IN_AGAIN + "; store the refresh token, not the code",
    ),
    AadstsEntry(
        number=numbers.CODE_EXPIRED,
        step="grant",
        error="invalid_grant",
        text="The authorization code has expired.",
        cause="A code is valid for ten minutes.",
        resolution=_SIGN_IN_AGAIN,
    ),
    AadstsEntry(
        number=numbers.REFRESH_TOKEN_EXPIRED,
        step="grant",
        error="invalid_grant",
        text="The refresh token has expired: it is older than {days} days.",
        cause="A refresh token is valid for 90 days; each use returns a new one.",
        resolution=_SIGN_IN_AGAIN,
    ),
    AadstsEntry(
        number=numbers.GRANT_REVOKED,
        step="grant",
        error="invalid_grant",
        text="The grant was revoked, because the user's password was changed after it was issued.",
        cause="A password change revokes all refresh tokens that were issued before it.",
        resolution=_SIGN_IN_AGAIN,
    ),
    AadstsEntry(
        number=numbers.REDIRECT_URI_MISMATCH,
        step="grant",
        error="invalid_client",
        text="The redirect URI is not the one of the authorization request.",
        cause="`redirect_uri` at the token endpoint differs from the one at the sign-in page.",
        resolution="Send the same redirect_uri in both requests",
    ),
    AadstsEntry(
        number=numbers.CODE_VERIFIER_MISMATCH,
        step="grant",
        error="invalid_grant",
        text="The code verifier does not match the code challenge.",
        cause="The verifier is missing or wrong, or the authorization request had no challenge.",
        resolution="Send the verifier whose SHA-256 was the challenge of this authorization request",
    ),
    AadstsEntry(
        number=numbers.PKCE_REQUIRED,
        step="request",
        error="invalid_request",
        text="This application must use a proof key (PKCE).",
        cause="A single-page application requested a code without `code_challenge`.",
        resolution="Send code_challenge and code_challenge_method=S256",
    ),
    AadstsEntry(
        number=numbers.AUTHORIZATION_PENDING,
        step="grant",
        error="authorization_pending",
        text="The user has not finished signing in yet.",
        cause="The user has not entered the user code yet, or the sign-in is in progress.",
        resolution="Open the page that the client shows, and enter the code; the client continues to poll",
    ),
    AadstsEntry(
        number=numbers.SLOW_DOWN,
        step="grant",
        error="slow_down",
        text="The client polls more often than every {seconds} seconds.",
        cause="The client polls the device code faster than its `interval`. Entra does not "
        "document its number for this.",
        resolution="Wait for the interval between two requests",
    ),
    AadstsEntry(
        number=numbers.TOO_MANY_REQUESTS,
        step="grant",
        error="temporarily_unavailable",
        text="Too many requests; try again later.",
        cause="The client or its address exceeded a limit of `podpass authority` (`--client-rate`, "
        "`--source-rate`, `--source-device-codes`), its address sent too many refused requests "
        "(`--refused-rate`), or there are ten thousand pending device codes already, and a device code in "
        "use is not deleted for a new one. The status is 429, and `Retry-After` has the time until the next "
        "attempt.",
        resolution="Wait for the time in `Retry-After`; a device code is pending for 15 minutes at most",
    ),
    AadstsEntry(
        number=numbers.UNKNOWN_CODE,
        step="grant",
        error="bad_verification_code",
        text="The code is unknown or was already used.",
        cause="No pending sign-in of this client has this device code or user code.",
        resolution="Compare the code with the one that the client shows, or start the sign-in again",
    ),
    AadstsEntry(
        number=numbers.DEVICE_CODE_EXPIRED,
        step="grant",
        error="expired_token",
        text="The device code has expired.",
        cause="A device code is valid for 15 minutes.",
        resolution="Start the sign-in again",
    ),
    AadstsEntry(
        number=numbers.SIGN_IN_DECLINED,
        step="grant",
        error="access_denied",
        text="The user declined to sign in to the application.",
        cause="The user chose Cancel on the page. The client of a device code receives "
        "`authorization_declined`.",
        resolution="Start the sign-in again if that was a mistake",
    ),
    AadstsEntry(
        number=numbers.FORM_EXPIRED,
        step="grant",
        error="invalid_request",
        text="The sign-in page is too old, or its form was already sent.",
        cause="The page was open for more than half an hour, or belongs to another service, or the form of "
        "the consent page was sent a second time.",
        resolution="Start the sign-in again",
    ),
    AadstsEntry(
        number=numbers.FORM_OF_OTHER_BROWSER,
        step="grant",
        error="invalid_request",
        text="The form was not sent from the page that this browser received.",
        cause="The form's token does not match the browser's cookie: a page of another site sent the "
        "form, or the "
        "browser does not store cookies.",
        resolution="Allow cookies for this address and start the sign-in again",
    ),
    AadstsEntry(
        number=numbers.LOGIN_REQUIRED,
        step="user",
        error="login_required",
        text="No user is signed in, and the request forbids a prompt.",
        cause="`prompt=none` needs a session, and the sign-in page has no sessions.",
        resolution="Remove prompt=none, or use the refresh token",
    ),
    AadstsEntry(
        number=numbers.UNKNOWN_USER,
        step="user",
        error="invalid_grant",
        text="The user account {user} does not exist in the directory {tenant}.",
        cause="No user of the tenant has this name.",
        resolution="`podpass status` shows the name of the administrator, `az ad user list` all names",
    ),
    AadstsEntry(
        number=numbers.USER_LOCKED,
        step="user",
        error="invalid_grant",
        text="The account is temporarily locked because of too many wrong passwords.",
        cause="Ten wrong passwords in a row lock a user for a minute; during it the right password is "
        "refused too.",
        resolution="Wait a minute",
    ),
    AadstsEntry(
        number=numbers.WRONG_PASSWORD,
        step="user",
        error="invalid_grant",
        text="The user name or password is not valid.",
        cause="The user exists, but the password is wrong.",
        resolution="`podpass get password` prints the administrator's password",
    ),
    AadstsEntry(
        number=numbers.USER_NOT_ASSIGNED,
        step="resource",
        error="invalid_grant",
        text="The user is not assigned to the application '{client}' ({name}).",
        cause="The application's service principal has `appRoleAssignmentRequired`, and the user has no "
        "assignment.",
        resolution="Assign one of its app roles to the user, or turn off `appRoleAssignmentRequired`",
    ),
    AadstsEntry(
        number=numbers.UNKNOWN_PERMISSION,
        step="resource",
        error="invalid_client",
        text="The application '{client}' ({name}) requests the permission '{scope}', which the resource "
        "'{resource}' does not publish.",
        cause="The scope names a delegated permission that does not exist in the resource, or that is "
        "disabled.",
        resolution="Compare the scope with `oauth2PermissionScopes` of the resource's service principal",
    ),
    AadstsEntry(
        number=numbers.RESOURCE_NOT_LISTED,
        step="resource",
        error="invalid_resource",
        text="The application requests the resource '{resource}', which its registration does not list.",
        cause="A client requests `/.default`, but its `requiredResourceAccess` has no delegated permission "
        "of this resource, so there is nothing that a user could consent to.",
        resolution="Add the permission: az ad app permission add --id ID --api RESOURCE "
        "--api-permissions PERMISSION=Scope",
    ),
    AadstsEntry(
        number=numbers.CONSENT_REQUIRED,
        step="resource",
        error="invalid_grant",
        suberror="consent_required",
        text="Neither the user nor an administrator has consented to the permissions of '{resource}' that "
        "the application '{client}' ({name}) requests.",
        cause="No grant of delegated permissions (`oauth2PermissionGrants`) covers this client, user, "
        "resource and scope. Microsoft's tools need none.",
        resolution="Sign in on the page and accept, or let an administrator consent for all users: "
        "az ad app permission admin-consent --id ID",
    ),
    AadstsEntry(
        number=numbers.ADMIN_CONSENT_REQUIRED,
        step="resource",
        error="access_denied",
        text="The permission '{permission}' of {resource} needs the consent of an administrator.",
        cause="The application requests a permission for administrators, and the user is not one.",
        resolution="Let an administrator consent for all users: az ad app permission admin-consent --id ID",
    ),
)
