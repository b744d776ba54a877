"""The members of an application as Graph has them: what can be written, what is shown unless it is. Pure.

Source: https://learn.microsoft.com/graph/api/resources/application
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from podpass.directory import redirects
from podpass.directory.graph.members import (
    Read,
    boolean,
    guid,
    integer,
    items,
    members,
    one_of,
    or_null,
    required,
    text,
    wrong,
)
from podpass.directory.graph.refusals import BadRequest

AUDIENCES = (
    "AzureADMyOrg",
    "AzureADMultipleOrgs",
    "AzureADandPersonalMicrosoftAccount",
    "PersonalMicrosoftAccount",
)
_TEXT = or_null(text())
_URI = or_null(text(2048))
_FLAG = or_null(boolean)

_ROLE = members(
    {
        "id": guid,
        "value": or_null(text(250)),
        "displayName": text(100, least=1),
        "description": or_null(text(1024)),
        "isEnabled": boolean,
        "allowedMemberTypes": items(one_of("User", "Application"), limit=2),
        "origin": _TEXT,
    }
)
_SCOPE = members(
    {
        "id": guid,
        "value": or_null(text(120)),
        "type": one_of("User", "Admin"),
        "isEnabled": boolean,
        "adminConsentDisplayName": or_null(text(100)),
        "adminConsentDescription": _TEXT,
        "userConsentDisplayName": or_null(text(100)),
        "userConsentDescription": _TEXT,
        "origin": _TEXT,
    }
)
_CLAIMS = items(
    members(
        {
            "name": text(256, least=1),
            "source": _TEXT,
            "essential": boolean,
            "additionalProperties": items(text(256), limit=32),
        }
    ),
    limit=100,
)
_PERMISSION = members({"id": guid, "type": one_of("Role", "Scope")})


def _redirects(platform: str) -> Read:
    whole = text(2048)

    def read(path: str, value: Any) -> Any:
        uri = whole(path, value)
        if (want := redirects.fault(platform, uri)) is not None:
            raise wrong(path, want)
        return uri

    return items(read, limit=256)


_API = {
    "acceptMappedClaims": _FLAG,
    "knownClientApplications": items(guid),
    "oauth2PermissionScopes": items(_SCOPE),
    "preAuthorizedApplications": items(
        members(
            {"appId": guid, "delegatedPermissionIds": items(guid), "permissionIds": items(guid)}
        )
    ),
    "requestedAccessTokenVersion": or_null(one_of(1, 2)),
}
_WEB = {
    "homePageUrl": _URI,
    "logoutUrl": _URI,
    "redirectUris": _redirects("web"),
    "redirectUriSettings": items(
        members({"uri": text(2048), "index": or_null(integer)}), limit=256
    ),
    "implicitGrantSettings": members(
        {"enableAccessTokenIssuance": _FLAG, "enableIdTokenIssuance": _FLAG}
    ),
}

WRITABLE: Mapping[str, Read] = {
    "displayName": text(256, least=1),
    "description": _TEXT,
    "notes": _TEXT,
    "tags": items(text(256, least=1), limit=100),
    "signInAudience": one_of(*AUDIENCES),
    "identifierUris": items(text(255, least=1), limit=50),
    "groupMembershipClaims": or_null(text(256)),
    "isFallbackPublicClient": _FLAG,
    "isDeviceOnlyAuthSupported": _FLAG,
    "oauth2RequirePostResponse": _FLAG,
    "defaultRedirectUri": _URI,
    "samlMetadataUrl": _URI,
    "serviceManagementReference": or_null(text(512)),
    "tokenEncryptionKeyId": or_null(guid),
    "nativeAuthenticationApisEnabled": or_null(one_of("none", "all")),
    "web": members(_WEB),
    "spa": members({"redirectUris": _redirects("spa")}),
    "publicClient": members({"redirectUris": _redirects("publicClient")}),
    "api": members(_API),
    "appRoles": items(_ROLE),
    "requiredResourceAccess": items(
        members({"resourceAppId": guid, "resourceAccess": items(_PERMISSION)}), limit=50
    ),
    "optionalClaims": or_null(
        members({"idToken": _CLAIMS, "accessToken": _CLAIMS, "saml2Token": _CLAIMS})
    ),
    "info": members(
        {
            "marketingUrl": _URI,
            "privacyStatementUrl": _URI,
            "supportUrl": _URI,
            "termsOfServiceUrl": _URI,
            "logoUrl": _URI,
        }
    ),
    "parentalControlSettings": members(
        {"countriesBlockedForMinors": items(text(2)), "legalAgeGroupRule": or_null(text(64))}
    ),
    "servicePrincipalLockConfiguration": or_null(
        members(
            {
                "isEnabled": boolean,
                "allProperties": _FLAG,
                "credentialsWithUsageVerify": _FLAG,
                "credentialsWithUsageSign": _FLAG,
                "tokenEncryptionKeyId": _FLAG,
            }
        )
    ),
}
READ_ONLY = frozenset(
    {
        "id",
        "appId",
        "createdDateTime",
        "deletedDateTime",
        "publisherDomain",
        "applicationTemplateId",
        "certification",
        "verifiedPublisher",
        "disabledByMicrosoftStatus",
        "createdByAppId",
        "uniqueName",
        "federatedIdentityCredentials",
    }
)
DEFAULTS: Mapping[str, Any] = {
    "deletedDateTime": None,
    "applicationTemplateId": None,
    "disabledByMicrosoftStatus": None,
    "description": None,
    "groupMembershipClaims": None,
    "isDeviceOnlyAuthSupported": None,
    "isFallbackPublicClient": None,
    "nativeAuthenticationApisEnabled": None,
    "notes": None,
    "optionalClaims": None,
    "serviceManagementReference": None,
    "servicePrincipalLockConfiguration": None,
    "requestSignatureVerification": None,
    "samlMetadataUrl": None,
    "defaultRedirectUri": None,
    "tokenEncryptionKeyId": None,
    "signInAudience": "AzureADMyOrg",
    "tags": [],
    "addIns": [],
    "certification": None,
    "api": {
        "acceptMappedClaims": None,
        "knownClientApplications": [],
        "oauth2PermissionScopes": [],
        "preAuthorizedApplications": [],
        "requestedAccessTokenVersion": None,
    },
    "appRoles": [],
    "info": {
        "logoUrl": None,
        "marketingUrl": None,
        "privacyStatementUrl": None,
        "supportUrl": None,
        "termsOfServiceUrl": None,
    },
    "parentalControlSettings": {"countriesBlockedForMinors": [], "legalAgeGroupRule": "Allow"},
    "publicClient": {"redirectUris": []},
    "requiredResourceAccess": [],
    "spa": {"redirectUris": []},
    "verifiedPublisher": {
        "displayName": None,
        "verifiedPublisherId": None,
        "addedDateTime": None,
    },
    "web": {
        "homePageUrl": None,
        "logoutUrl": None,
        "redirectUris": [],
        "implicitGrantSettings": {
            "enableAccessTokenIssuance": False,
            "enableIdTokenIssuance": False,
        },
        "redirectUriSettings": [],
    },
}


def check_entitlements(kind: str, old: Sequence[Any], new: Sequence[dict[str, Any]]) -> None:
    """Refuse application roles, or scopes, that cannot stand together or take away what is in use.

    Shapes:  `kind` is `appRoles` or `api.oauth2PermissionScopes`; missing members get their defaults.
    Errors:  BadRequest.
    """
    ids: set[str] = set()
    values: set[str] = set()
    for place, one in enumerate(new):
        path = f"{kind}[{place}]"
        _complete(kind, path, one)
        if one["id"] in ids:
            raise BadRequest(f"Property '{path}.id' stands twice.", wire_code="DuplicateValue")
        ids.add(one["id"])
        if (value := one["value"]) and value.lower() in values:
            raise BadRequest(f"Property '{path}.value' stands twice.", wire_code="DuplicateValue")
        values.add((value or "").lower())
    if any(one["isEnabled"] and one["id"] not in ids for one in old):
        # Terraform (azuread) searches for this, disables the role or scope, and tries again.
        raise BadRequest(
            "Permission (scope or role) cannot be deleted or updated unless disabled first: set its"
            " 'isEnabled' to false in a change of its own.",
            wire_code="CannotDeleteOrUpdateEnabledEntitlement",
        )


def _complete(kind: str, path: str, one: dict[str, Any]) -> None:
    needed = ["id"]
    if kind == "appRoles":
        needed += ["displayName", "allowedMemberTypes"]
        one.setdefault("description", None)
        one["origin"] = "Application"
    else:
        one.setdefault("type", "User")
    one.setdefault("value", None)
    one.setdefault("isEnabled", True)
    for name in needed:
        if not one.get(name):
            raise required(f"{path}.{name}")
    # A value stands in the blank-separated `scp` and the `roles` of a token.
    if one["value"] and any(sign.isspace() for sign in one["value"]):
        raise BadRequest(f"Property '{path}.value' must not hold blanks.", property=path)


def check_uris(uris: Sequence[str], *, app_id: str, tenant_id: str, domain: str) -> None:
    """Refuse an identifier URI that does not say whose it is.

    Source:  https://learn.microsoft.com/entra/identity-platform/identifier-uri-restrictions
    """
    for uri in uris:
        if not _is_ours(uri, app_id, tenant_id, domain):
            raise BadRequest(
                f"'{uri}' does not say whose it is: an identifier URI holds the appId, the tenant's id"
                f" or one of its domains. api://{app_id} always fits.",
                wire_code="HostNameNotOnVerifiedDomain",
                property="identifierUris",
            )


def _is_ours(uri: str, app_id: str, tenant_id: str, domain: str) -> bool:
    parts = urlsplit(uri.lower())
    host = parts.netloc
    on_domain = host == domain or host.endswith("." + domain)
    if parts.scheme == "api":
        steps = [host, *parts.path.split("/")]
        return on_domain or app_id in steps or host == tenant_id
    return parts.scheme in ("https", "http") and on_domain
