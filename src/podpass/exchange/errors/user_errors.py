"""The refusals of a user's sign-in: by password, by code, by device, by refresh token.

The numbers are Entra's, the sentences are ours. Three numbers of a step are shared by pages and endpoint.
"""

from podpass.exchange.errors.model import Aadsts

_AGAIN = "Sign in again"

USER_ROWS = (
    Aadsts(
        number=50059,
        step="tenant",
        error="invalid_request",
        text="Neither the request nor the user name says which tenant is meant.",
        meaning="The path names `organizations`, and the user name has no domain.",
        cure="Write the user's whole name, as `podpass status` shows the admin's, or name the tenant",
    ),
    Aadsts(
        number=70005,
        step="request",
        error="unsupported_response_type",
        text="The response type '{value}' is not supported here; 'code' is.",
        meaning="The sign-in page gives out codes only; tokens come from the token endpoint.",
        cure="Ask with response_type=code",
    ),
    Aadsts(
        number=70007,
        step="request",
        error="invalid_request",
        text="The response mode '{value}' is not supported.",
        meaning="`response_mode` is none of query, fragment and form_post.",
        cure="Ask with response_mode=form_post",
    ),
    Aadsts(
        number=501491,
        step="request",
        error="invalid_request",
        text="The code challenge is not one of S256.",
        meaning="`code_challenge` is not 43 signs of base64url, or `code_challenge_method` is not S256. "
        "Entra takes `plain` too, which protects nothing.",
        cure="Send code_challenge_method=S256 and the base64url of the verifier's SHA-256",
    ),
    Aadsts(
        number=50194,
        step="client",
        error="invalid_request",
        text="Application '{client}' ({name}) is for its own tenant only; /common and /organizations do "
        "not serve it.",
        meaning="The application's `signInAudience` is AzureADMyOrg, and the path names no tenant.",
        cure="Use the tenant's own id in the path",
    ),
    Aadsts(
        number=900971,
        step="client",
        error="invalid_request",
        text="No reply address is registered for the application.",
        meaning="The application has no redirect URI at all.",
        cure="Register one: az ad app update --public-client-redirect-uris or --web-redirect-uris",
    ),
    Aadsts(
        number=50011,
        step="client",
        error="invalid_request",
        text="The redirect URI '{redirect}' is none of those of application '{client}'.",
        meaning="A redirect URI is compared letter by letter; only the port of http://localhost may "
        "differ. Tools that are built in have http://localhost.",
        cure="Register the very URI the client sends",
    ),
    Aadsts(
        number=70000,
        step="grant",
        error="invalid_grant",
        text="The grant is not valid: {reason}.",
        meaning="A code or refresh token that is not this service's, was changed, or belongs to another "
        "client.",
        cure=_AGAIN,
    ),
    Aadsts(
        number=700005,
        step="grant",
        error="invalid_grant",
        text="The grant was given out in another tenant.",
        meaning="A code or refresh token is redeemed under a tenant that it is not of.",
        cure="Use the tenant in which the user signed in",
    ),
    Aadsts(
        number=54005,
        step="grant",
        error="invalid_grant",
        text="The authorization code has been redeemed already.",
        meaning="A code works once.",
        cure=_AGAIN + "; keep the refresh token rather than the code",
    ),
    Aadsts(
        number=70008,
        step="grant",
        error="invalid_grant",
        text="The authorization code has expired.",
        meaning="A code lives for ten minutes.",
        cure=_AGAIN,
    ),
    Aadsts(
        number=700082,
        step="grant",
        error="invalid_grant",
        text="The refresh token has expired: it is older than {days} days.",
        meaning="A refresh token lives for 90 days; each use gives a new one.",
        cure=_AGAIN,
    ),
    Aadsts(
        number=50173,
        step="grant",
        error="invalid_grant",
        text="The grant was revoked, since the user's password was changed after it.",
        meaning="Refresh tokens end with the password they were given out under.",
        cure=_AGAIN,
    ),
    Aadsts(
        number=500112,
        step="grant",
        error="invalid_client",
        text="The redirect URI is not the one that the code was asked for with.",
        meaning="`redirect_uri` at the token endpoint differs from the one at the sign-in page.",
        cure="Send the same redirect_uri both times",
    ),
    Aadsts(
        number=501481,
        step="grant",
        error="invalid_grant",
        text="The code verifier does not fit the code challenge.",
        meaning="The verifier is missing, is another one, or there was no challenge to begin with.",
        cure="Send the verifier whose SHA-256 was the challenge of this very request",
    ),
    Aadsts(
        number=9002325,
        step="request",
        error="invalid_request",
        text="This application's codes need a proof key (PKCE).",
        meaning="A single-page application asked for a code without `code_challenge`.",
        cure="Send code_challenge and code_challenge_method=S256",
    ),
    Aadsts(
        number=70016,
        step="grant",
        error="authorization_pending",
        text="The user has not finished signing in yet.",
        meaning="Nobody has entered the user code, or the sign-in is under way.",
        cure="Open the page that the client names, enter the code, and let the client ask on",
    ),
    Aadsts(
        number=50196,
        step="grant",
        error="slow_down",
        text="The client asks more often than every {seconds} seconds.",
        meaning="The device code is polled faster than its `interval`. The number is ours: Entra's for it "
        "is not known.",
        cure="Wait for the interval between two requests",
    ),
    Aadsts(
        number=90055,
        step="grant",
        error="temporarily_unavailable",
        text="Too many requests; try again later.",
        meaning="The client or its address has asked more than its share (`--client-rate`, `--source-rate`, "
        "`--source-device-codes`), its address has sent too many refused requests (`--refused-rate`), or ten "
        "thousand device codes wait already, of which none that somebody waits for has to go. The "
        "status is 429, and `Retry-After` says when to try again.",
        cure="Wait as long as `Retry-After` says; a device code waits for 15 minutes at most",
    ),
    Aadsts(
        number=70018,
        step="grant",
        error="bad_verification_code",
        text="The code is not known, or has been used.",
        meaning="No sign-in of this client waits under this device code or user code.",
        cure="Compare the code with the one the client shows, or begin anew",
    ),
    Aadsts(
        number=70020,
        step="grant",
        error="expired_token",
        text="The device code has expired.",
        meaning="A device code lives for 15 minutes.",
        cure="Begin the sign-in anew",
    ),
    Aadsts(
        number=65004,
        step="grant",
        error="access_denied",
        text="The user declined to sign in to the application.",
        meaning="Somebody chose Cancel on the page. The device code's client is told "
        "`authorization_declined`.",
        cure="Begin the sign-in anew if that was a mistake",
    ),
    Aadsts(
        number=50089,
        step="grant",
        error="invalid_request",
        text="The sign-in page is too old.",
        meaning="The page stood open for more than half an hour, or is of another service.",
        cure="Begin the sign-in anew",
    ),
    Aadsts(
        number=165000,
        step="grant",
        error="invalid_request",
        text="The form was not sent by the page that this browser was shown.",
        meaning="The form's token and the browser's cookie do not belong together: a page of another site "
        "sent it, or the browser keeps no cookies.",
        cure="Allow cookies for this address and begin the sign-in anew",
    ),
    Aadsts(
        number=50058,
        step="user",
        error="login_required",
        text="Nobody is signed in, and the request forbids to ask.",
        meaning="`prompt=none` finds no session: the page keeps none.",
        cure="Ask without prompt=none, or use the refresh token",
    ),
    Aadsts(
        number=50034,
        step="user",
        error="invalid_grant",
        text="The user account {user} does not exist in the directory {tenant}.",
        meaning="No user of the tenant has this name.",
        cure="`podpass status` shows the admin's name",
    ),
    Aadsts(
        number=50053,
        step="user",
        error="invalid_grant",
        text="The account is locked for a while, after too many wrong passwords.",
        meaning="Ten wrong passwords in a row lock a user for a minute; the right one does not help then.",
        cure="Wait a minute",
    ),
    Aadsts(
        number=50126,
        step="user",
        error="invalid_grant",
        text="The user name or password is not valid.",
        meaning="The user is there, the password another one.",
        cure="`podpass status -o json` shows the admin's password",
    ),
    Aadsts(
        number=50105,
        step="resource",
        error="invalid_grant",
        text="The user is not assigned to the application '{client}' ({name}).",
        meaning="The application's service principal has `appRoleAssignmentRequired`, and the user no "
        "assignment.",
        cure="Assign the user to one of its roles, or switch the requirement off",
    ),
)
