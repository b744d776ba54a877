"""Parse and show connections of Service Connector. Pure.

Source:  https://learn.microsoft.com/rest/api/servicelinker/linker
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from podpass.directory.resource_manager import errors, wire
from podpass.lab.services.connector.model import TYPE, Linker

_NAME = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9._]{1,60}")
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_KEY = re.compile(r"(?!\.\.?$)[-._a-zA-Z0-9]{1,253}")
_OTHER_CHARS = re.compile(r"[^a-zA-Z0-9]")
_CLIENT_TYPES = (
    *("none", "dotnet", "dotnet-internal", "dotnet-connectionString", "java", "nodejs", "python"),
    *("go", "php", "ruby", "django"),
)
_OPT_OUT_AUTH, _OPT_OUT = "optOutAllAuth", "optOut"
_USER_ASSIGNED = "userAssignedIdentity"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkerRequest:
    """The requested connection.

    `roles` replaces the target's default roles if it is not empty; `customized_keys` maps default keys to the
    user's; `document` is stored and returned.
    """

    target_id: str
    client_id: str
    subscription_id: str
    namespace: str
    roles: tuple[str, ...] = ()
    customized_keys: Mapping[str, str] = field(default_factory=dict)
    grants_access: bool = True
    writes_configuration: bool = True
    document: Mapping[str, Any] = field(default_factory=dict)


def check_name(name: str) -> None:
    """Reject an invalid name of a connection. Raises ManagerError."""
    if not _NAME.fullmatch(name):
        raise errors.bad_request(
            "InvalidResourceName",
            f"The connection name '{name[:80]}' is invalid: want 1 to 60 letters, digits, '.' and '_', with"
            " at least one letter or digit.",
        )


def secret_name(name: str) -> str:
    """Return the name of a connection's Secret; Kubernetes requires lower case."""
    return f"sc-{_OTHER_CHARS.sub('', name).lower()}-secret"


def account_name(client_id: str) -> str:
    """Return the name of the ServiceAccount of an identity; all its connections share it."""
    return f"sc-account-{client_id}"


def parse(body: Mapping[str, Any]) -> LinkerRequest:
    """Parse the body of a request that writes a connection.

    Raises ManagerError, also for what podpass does not serve.
    """
    given = wire.object_member(body, "properties")
    target, auth = (wire.object_member(given, one) for one in ("targetService", "authInfo"))
    configuration = wire.object_member(given, "configurationInfo")
    _reject_unserved(given, target, auth, configuration)
    target_id = wire.text(target, "id")
    client_id, subscription = (wire.text(auth, one) for one in ("clientId", "subscriptionId"))
    if not target_id or not client_id or not subscription:
        raise errors.bad_request(
            "ValidationFailed",
            "A connection needs 'targetService.id', 'authInfo.clientId' and 'authInfo.subscriptionId'.",
        )
    namespace = wire.text(given, "scope") or "default"
    if not _NAMESPACE.fullmatch(namespace):
        raise errors.bad_request(
            "ValidationFailed", f"'{namespace[:80]}' is not a valid name of a Kubernetes namespace."
        )
    return LinkerRequest(
        target_id=target_id,
        client_id=client_id.lower(),
        subscription_id=subscription.lower(),
        namespace=namespace,
        roles=wire.text_list(auth, "roles") or (),
        customized_keys=_parse_keys(configuration),
        grants_access=wire.text(auth, "authMode") != _OPT_OUT_AUTH,
        writes_configuration=wire.text(configuration, "action") != _OPT_OUT,
        document=_document(given, target, auth, configuration, namespace),
    )


def _reject_unserved(
    given: Mapping[str, Any],
    target: Mapping[str, Any],
    auth: Mapping[str, Any],
    configuration: Mapping[str, Any],
) -> None:
    if wire.text(target, "type") not in (None, "AzureResource"):
        raise _not_served("targets that are not Azure resources")
    properties = wire.object_member(target, "resourceProperties")
    if wire.boolean(properties, "connectAsKubernetesCsiDriver"):
        raise _not_served(
            "the Secrets Store CSI driver (--enable-csi); use --workload-identity, and read the secrets"
            " with an SDK"
        )
    if wire.boolean(properties, "connectWithKubernetesExtension"):
        raise _not_served("the App Configuration extension")
    if wire.text(wire.object_member(given, "secretStore"), "keyVaultId"):
        raise _not_served("a Key Vault as the store of a connection (--vault-id)")
    store = wire.object_member(configuration, "configurationStore")
    if wire.text(store, "appConfigurationId"):
        raise _not_served("App Configuration as the store of a connection (--appconfig-id)")
    if wire.object_member(given, "vNetSolution"):
        raise errors.bad_request(
            "ValidationFailed",
            "A connection of a cluster has no 'vNetSolution'; AKS supports none.",
        )
    if (kind := wire.text(auth, "authType")) != _USER_ASSIGNED:
        raise _not_served(f"the authentication type '{kind}'; pass --workload-identity")
    client_type = wire.text(given, "clientType") or "none"
    if client_type not in _CLIENT_TYPES:
        raise _not_served(
            f"the client type '{client_type}'; available are {', '.join(_CLIENT_TYPES)}"
        )


def _not_served(what: str) -> errors.ManagerError:
    # Not 501: clients and monitors count each 5xx as a failure of the server, and another body would pass.
    return errors.bad_request(
        "NotSupported", f"Service Connector of podpass does not serve {what}."
    )


def _parse_keys(configuration: Mapping[str, Any]) -> dict[str, str]:
    renamed = wire.object_member(configuration, "customizedKeys")
    for old, new in renamed.items():
        if not isinstance(new, str) or not _KEY.fullmatch(new):
            raise errors.bad_request(
                "ValidationFailed",
                f"The customized key of '{old[:80]}' is not a valid key of a Secret: want 1 to 253 letters,"
                " digits, '-', '_' and '.'.",
            )
    return renamed


def _document(
    given: Mapping[str, Any],
    target: Mapping[str, Any],
    auth: Mapping[str, Any],
    configuration: Mapping[str, Any],
    namespace: str,
) -> dict[str, Any]:
    """Return what is stored: the known members only, so that no secret of a wrong request is stored."""
    network = wire.object_member(given, "publicNetworkSolution")
    return {
        "targetService": {"type": "AzureResource", "id": wire.text(target, "id")},
        "authInfo": {
            "authType": _USER_ASSIGNED,
            "authMode": wire.text(auth, "authMode"),
            "clientId": (wire.text(auth, "clientId") or "").lower(),
            "subscriptionId": wire.text(auth, "subscriptionId"),
            "roles": list(wire.text_list(auth, "roles") or ()) or None,
        },
        "clientType": wire.text(given, "clientType") or "none",
        "scope": namespace,
        "configurationInfo": {
            "action": wire.text(configuration, "action"),
            "customizedKeys": wire.object_member(configuration, "customizedKeys") or None,
        },
        "publicNetworkSolution": {"action": wire.text(network, "action")},
    }


def to_json(linker: Linker) -> dict[str, Any]:
    """Return a connection as a response body."""
    properties = {**linker.document, "vNetSolution": None, "secretStore": None}
    return {
        "id": linker.resource_id,
        "name": linker.name,
        "type": TYPE.lower(),
        "systemData": None,
        "properties": {**properties, "provisioningState": "Succeeded"},
    }


def configurations_to_json(values: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of a connection as the body of `listConfigurations`."""
    return {
        "configurations": [
            {
                "name": name,
                "value": value,
                "configType": "Default",
                "keyVaultReferenceIdentity": None,
                "description": None,
            }
            for name, value in values.items()
        ]
    }
