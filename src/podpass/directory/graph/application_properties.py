"""The properties of an application in Graph: parsers of the writable ones, and default values. Pure.

Source: https://learn.microsoft.com/graph/api/resources/application
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from podpass.directory import redirects
from podpass.directory.graph.errors import InvalidRequest
from podpass.directory.graph.properties import (
    PropertyParser,
    boolean,
    guid,
    integer,
    invalid_value,
    list_of,
    missing_property,
    nullable,
    object_of,
    one_of,
    text,
)

AUDIENCES = (
    "AzureADMyOrg",
    "AzureADMultipleOrgs",
    "AzureADandPersonalMicrosoftAccount",
    "PersonalMicrosoftAccount",
)
_TEXT = nullable(text())
_URI = nullable(text(2048))
_FLAG = nullable(boolean)

_ROLE = object_of(
    {
        "id": guid,
        "value": nullable(text(250)),
        "displayName": text(100, least=1),
        "description": nullable(text(1024)),
        "isEnabled": boolean,
        "allowedMemberTypes": list_of(one_of("User", "Application"), limit=2),
        "origin": _TEXT,
    }
)
_SCOPE = object_of(
    {
        "id": guid,
        "value": nullable(text(120)),
        "type": one_of("User", "Admin"),
        "isEnabled": boolean,
        "adminConsentDisplayName": nullable(text(100)),
        "adminConsentDescription": _TEXT,
        "userConsentDisplayName": nullable(text(100)),
        "userConsentDescription": _TEXT,
        "origin": _TEXT,
    }
)
_CLAIMS = list_of(
    object_of(
        {
            "name": text(256, least=1),
            "source": _TEXT,
            "essential": boolean,
            "additionalProperties": list_of(text(256), limit=32),
        }
    ),
    limit=100,
)
_PERMISSION = object_of({"id": guid, "type": one_of("Role", "Scope")})


def _redirect_uris(platform: str) -> PropertyParser:
    parse_text = text(2048)

    def read(path: str, value: Any) -> Any:
        uri = parse_text(path, value)
        if (want := redirects.redirect_fault(platform, uri)) is not None:
            raise invalid_value(path, want)
        return uri

    return list_of(read, limit=256)


_API = {
    "acceptMappedClaims": _FLAG,
    "knownClientApplications": list_of(guid),
    "oauth2PermissionScopes": list_of(_SCOPE),
    "preAuthorizedApplications": list_of(
        object_of(
            {"appId": guid, "delegatedPermissionIds": list_of(guid), "permissionIds": list_of(guid)}
        )
    ),
    "requestedAccessTokenVersion": nullable(one_of(1, 2)),
}
_WEB = {
    "homePageUrl": _URI,
    "logoutUrl": _URI,
    "redirectUris": _redirect_uris("web"),
    "redirectUriSettings": list_of(
        object_of({"uri": text(2048), "index": nullable(integer)}), limit=256
    ),
    "implicitGrantSettings": object_of(
        {"enableAccessTokenIssuance": _FLAG, "enableIdTokenIssuance": _FLAG}
    ),
}

WRITABLE: Mapping[str, PropertyParser] = {
    "displayName": text(256, least=1),
    "description": _TEXT,
    "notes": _TEXT,
    "tags": list_of(text(256, least=1), limit=100),
    "signInAudience": one_of(*AUDIENCES),
    "identifierUris": list_of(text(255, least=1), limit=50),
    "groupMembershipClaims": nullable(text(256)),
    "isFallbackPublicClient": _FLAG,
    "isDeviceOnlyAuthSupported": _FLAG,
    "oauth2RequirePostResponse": _FLAG,
    "defaultRedirectUri": _URI,
    "samlMetadataUrl": _URI,
    "serviceManagementReference": nullable(text(512)),
    "tokenEncryptionKeyId": nullable(guid),
    "nativeAuthenticationApisEnabled": nullable(one_of("none", "all")),
    "web": object_of(_WEB),
    "spa": object_of({"redirectUris": _redirect_uris("spa")}),
    "publicClient": object_of({"redirectUris": _redirect_uris("publicClient")}),
    "api": object_of(_API),
    "appRoles": list_of(_ROLE),
    "requiredResourceAccess": list_of(
        object_of({"resourceAppId": guid, "resourceAccess": list_of(_PERMISSION)}), limit=50
    ),
    "optionalClaims": nullable(
        object_of({"idToken": _CLAIMS, "accessToken": _CLAIMS, "saml2Token": _CLAIMS})
    ),
    "info": object_of(
        {
            "marketingUrl": _URI,
            "privacyStatementUrl": _URI,
            "supportUrl": _URI,
            "termsOfServiceUrl": _URI,
            "logoUrl": _URI,
        }
    ),
    "parentalControlSettings": object_of(
        {"countriesBlockedForMinors": list_of(text(2)), "legalAgeGroupRule": nullable(text(64))}
    ),
    "servicePrincipalLockConfiguration": nullable(
        object_of(
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


def validate_entitlements(kind: str, old: Sequence[Any], new: Sequence[dict[str, Any]]) -> None:
    """Reject app roles or scopes with duplicate ids or values, and the removal of an enabled one.

    `kind` is `appRoles` or `api.oauth2PermissionScopes`; missing properties get their defaults. Raises
    InvalidRequest.
    """
    ids: set[str] = set()
    values: set[str] = set()
    for index, one in enumerate(new):
        path = f"{kind}[{index}]"
        _apply_defaults(kind, path, one)
        if one["id"] in ids:
            raise InvalidRequest(f"Property '{path}.id' is not unique.", wire_code="DuplicateValue")
        ids.add(one["id"])
        if (value := one["value"]) and value.lower() in values:
            raise InvalidRequest(
                f"Property '{path}.value' is not unique.", wire_code="DuplicateValue"
            )
        values.add((value or "").lower())
    if any(one["isEnabled"] and one["id"] not in ids for one in old):
        # Terraform (azuread) searches for this phrase, disables the role or scope, and retries.
        raise InvalidRequest(
            "Permission (scope or role) cannot be deleted or updated unless disabled first: set its"
            " 'isEnabled' to false in a separate request.",
            wire_code="CannotDeleteOrUpdateEnabledEntitlement",
        )


def _apply_defaults(kind: str, path: str, one: dict[str, Any]) -> None:
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
            raise missing_property(f"{path}.{name}")
    # Tokens contain the value in `roles` and in `scp`, which is separated by spaces.
    if one["value"] and any(char.isspace() for char in one["value"]):
        raise InvalidRequest(f"Property '{path}.value' must not contain spaces.", property=path)


def validate_identifier_uris(
    uris: Sequence[str], *, app_id: str, tenant_id: str, domain: str
) -> None:
    """Reject an identifier URI that does not contain the appId, the tenant ID or a domain of the tenant.

    Source:  https://learn.microsoft.com/entra/identity-platform/identifier-uri-restrictions
    """
    for uri in uris:
        if not _is_owned_uri(uri, app_id, tenant_id, domain):
            raise InvalidRequest(
                f"The identifier URI '{uri}' must contain the appId, the tenant's id or one of its domains."
                f" api://{app_id} is always valid.",
                wire_code="HostNameNotOnVerifiedDomain",
                property="identifierUris",
            )


def _is_owned_uri(uri: str, app_id: str, tenant_id: str, domain: str) -> bool:
    parts = urlsplit(uri.lower())
    host = parts.netloc
    on_domain = host == domain or host.endswith("." + domain)
    if parts.scheme == "api":
        steps = [host, *parts.path.split("/")]
        return on_domain or app_id in steps or host == tenant_id
    return parts.scheme in ("https", "http") and on_domain
