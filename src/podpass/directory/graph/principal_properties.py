"""The properties of a service principal in Graph: parsers of the writable ones, and default values. Pure.

Source: https://learn.microsoft.com/graph/api/resources/serviceprincipal
"""

from collections.abc import Mapping
from typing import Any

from podpass.directory.graph.properties import (
    PropertyParser,
    boolean,
    guid,
    list_of,
    nullable,
    object_of,
    one_of,
    text,
)

_TEXT = nullable(text())
_URI = nullable(text(2048))

WRITABLE: Mapping[str, PropertyParser] = {
    "accountEnabled": boolean,
    "alternativeNames": list_of(text(256), limit=100),
    "appRoleAssignmentRequired": boolean,
    "description": _TEXT,
    "homepage": _URI,
    "loginUrl": _URI,
    "logoutUrl": _URI,
    "notes": _TEXT,
    "notificationEmailAddresses": list_of(text(256), limit=5),
    "preferredSingleSignOnMode": nullable(
        one_of("password", "saml", "notSupported", "oidc", "external")
    ),
    "preferredTokenSigningKeyThumbprint": nullable(text(64)),
    "replyUrls": list_of(text(2048), limit=256),
    "samlSingleSignOnSettings": nullable(object_of({"relayState": _TEXT})),
    "tags": list_of(text(256, least=1), limit=100),
    "tokenEncryptionKeyId": nullable(guid),
}
READ_ONLY = frozenset(
    {
        "id",
        "appId",
        "appDisplayName",
        "appDescription",
        "appOwnerOrganizationId",
        "applicationTemplateId",
        "appRoles",
        "createdDateTime",
        "deletedDateTime",
        "disabledByMicrosoftStatus",
        "displayName",
        "info",
        "oauth2PermissionScopes",
        "resourceSpecificApplicationPermissions",
        "servicePrincipalNames",
        "servicePrincipalType",
        "signInAudience",
        "verifiedPublisher",
    }
)
DEFAULTS: Mapping[str, Any] = {
    "deletedDateTime": None,
    "accountEnabled": True,
    "alternativeNames": [],
    "appDisplayName": None,
    "appDescription": None,
    "appOwnerOrganizationId": None,
    "applicationTemplateId": None,
    "appRoleAssignmentRequired": False,
    "createdDateTime": None,
    "description": None,
    "disabledByMicrosoftStatus": None,
    "homepage": None,
    "loginUrl": None,
    "logoutUrl": None,
    "notes": None,
    "notificationEmailAddresses": [],
    "preferredSingleSignOnMode": None,
    "preferredTokenSigningKeyThumbprint": None,
    "replyUrls": [],
    "samlSingleSignOnSettings": None,
    "servicePrincipalType": "Application",
    "signInAudience": None,
    "tags": [],
    "tokenEncryptionKeyId": None,
    "addIns": [],
    "appRoles": [],
    "info": {
        "logoUrl": None,
        "marketingUrl": None,
        "privacyStatementUrl": None,
        "supportUrl": None,
        "termsOfServiceUrl": None,
    },
    "keyCredentials": [],
    "oauth2PermissionScopes": [],
    "passwordCredentials": [],
    "resourceSpecificApplicationPermissions": [],
    "verifiedPublisher": {
        "displayName": None,
        "verifiedPublisherId": None,
        "addedDateTime": None,
    },
}
