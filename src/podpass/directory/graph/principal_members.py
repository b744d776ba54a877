"""The members of a service principal as Graph has them: what can be written, and what is shown. Pure.

Source: https://learn.microsoft.com/graph/api/resources/serviceprincipal
"""

from collections.abc import Mapping
from typing import Any

from podpass.directory.graph.members import (
    Read,
    boolean,
    guid,
    items,
    members,
    one_of,
    or_null,
    text,
)

_TEXT = or_null(text())
_URI = or_null(text(2048))

WRITABLE: Mapping[str, Read] = {
    "accountEnabled": boolean,
    "alternativeNames": items(text(256), limit=100),
    "appRoleAssignmentRequired": boolean,
    "description": _TEXT,
    "homepage": _URI,
    "loginUrl": _URI,
    "logoutUrl": _URI,
    "notes": _TEXT,
    "notificationEmailAddresses": items(text(256), limit=5),
    "preferredSingleSignOnMode": or_null(
        one_of("password", "saml", "notSupported", "oidc", "external")
    ),
    "preferredTokenSigningKeyThumbprint": or_null(text(64)),
    "replyUrls": items(text(2048), limit=256),
    "samlSingleSignOnSettings": or_null(members({"relayState": _TEXT})),
    "tags": items(text(256, least=1), limit=100),
    "tokenEncryptionKeyId": or_null(guid),
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
