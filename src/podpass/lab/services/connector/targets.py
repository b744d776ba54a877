"""Targets of Service Connector: resource ids, default roles, and the values that a pod receives. Pure.

Source:  https://learn.microsoft.com/azure/service-connector/concept-microsoft-entra-roles and the pages
         `how-to-integrate-...` next to it
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from podpass import names
from podpass.directory.model import OtherResource
from podpass.lab.services.connector import roles as service_roles

SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"
CERTIFICATE_USER = "db79e9a7-68ee-4b58-9aeb-b90e7c24fcba"
_BLOB_CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
_QUEUE_CONTRIBUTOR = "974c5e8b-45b9-4653-ba55-5f855dd0fb88"
_TABLE_CONTRIBUTOR = "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"
# The value is that of Microsoft's documentation; a client of the vault requests another scope.
_SCOPE = f"https://{names.ARM_HOST}/.default"
_CONNECTION_STRINGS = "2021-04-15"
_ANY = re.compile(
    r"(/subscriptions/([^/]+)/resourcegroups/([^/]+)/providers/([^/]+/[^/]+)/([^/]+))(/.*)?",
    re.IGNORECASE | re.ASCII,
)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")

VAULT = "Microsoft.KeyVault/vaults"
STORAGE = "Microsoft.Storage/storageAccounts"
COSMOS = "Microsoft.DocumentDB/databaseAccounts"
REDIS = "Microsoft.Cache/redis"
AI = "Microsoft.CognitiveServices/accounts"
SERVICE_BUS = "Microsoft.ServiceBus/namespaces"
EVENT_HUB = "Microsoft.EventHub/namespaces"
APP_CONFIGURATION = "Microsoft.AppConfiguration/configurationStores"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetName:
    """The Azure resource that a target id names; `resource_id` ends at the resource."""

    resource_id: str
    subscription_id: str
    group: str
    type: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetKind:
    """A target type of `az aks connection create`: default roles, and the values for pods.

    `below` matches what follows the resource in the target id, in lower case; `values` gets the resource and
    its stored form, and returns values without the client id; `client_id` is the key of the client id.
    """

    command: str
    type: str
    below: str
    roles: tuple[str, ...]
    client_id: str
    values: Callable[[TargetName], Mapping[str, str]]


def _openai(name: TargetName) -> dict[str, str]:
    return {"AZURE_OPENAI_BASE": f"https://{name.name}.openai.azure.com/"}


def _cosmos(name: TargetName) -> dict[str, str]:
    url = f"https://{names.ARM_HOST}{name.resource_id}/listConnectionStrings"
    return {
        "AZURE_COSMOS_LISTCONNECTIONSTRINGURL": f"{url}?api-version={_CONNECTION_STRINGS}",
        "AZURE_COSMOS_SCOPE": _SCOPE,
        "AZURE_COSMOS_RESOURCEENDPOINT": f"https://{name.name}.documents.azure.com:443/",
    }


def _storage(service: str, role: str) -> TargetKind:
    key = f"AZURE_STORAGE{service.upper()}"
    return TargetKind(
        command=f"storage-{service}",
        type=STORAGE,
        below=f"/{service}services/default",
        roles=(role,),
        client_id=f"{key}_CLIENTID",
        values=lambda one: {
            f"{key}_RESOURCEENDPOINT": f"https://{one.name}.{service}.core.windows.net/"
        },
    )


def _namespace(command: str, kind: str, roles: tuple[str, ...]) -> TargetKind:
    key = f"AZURE_{command.upper()}"
    return TargetKind(
        command=command,
        type=kind,
        below="",
        roles=roles,
        client_id=f"{key}_CLIENTID",
        values=lambda one: {f"{key}_FULLYQUALIFIEDNAMESPACE": f"{one.name}.servicebus.windows.net"},
    )


KEY_VAULT = TargetKind(
    command="keyvault",
    type=VAULT,
    below="",
    roles=(SECRETS_USER, CERTIFICATE_USER),
    client_id="AZURE_KEYVAULT_CLIENTID",
    values=lambda one: {
        "AZURE_KEYVAULT_RESOURCEENDPOINT": f"https://{one.name.lower()}.{names.VAULT_SUFFIX}/",
        "AZURE_KEYVAULT_SCOPE": _SCOPE,
    },
)
_OPENAI = TargetKind(
    command="cognitiveservices",
    type=AI,
    below="",
    roles=(service_roles.OPENAI_CONTRIBUTOR,),
    client_id="AZURE_OPENAI_CLIENTID",
    values=_openai,
)
KINDS = (
    KEY_VAULT,
    _storage("blob", _BLOB_CONTRIBUTOR),
    _storage("queue", _QUEUE_CONTRIBUTOR),
    _storage("table", _TABLE_CONTRIBUTOR),
    _namespace(
        "servicebus",
        SERVICE_BUS,
        (service_roles.SERVICE_BUS_DATA_RECEIVER, service_roles.SERVICE_BUS_DATA_SENDER),
    ),
    _namespace(
        "eventhub",
        EVENT_HUB,
        (service_roles.EVENT_HUBS_DATA_RECEIVER, service_roles.EVENT_HUBS_DATA_SENDER),
    ),
    TargetKind(
        command="appconfig",
        type=APP_CONFIGURATION,
        below="",
        roles=(service_roles.APP_CONFIGURATION_DATA_READER,),
        client_id="AZURE_APPCONFIGURATION_CLIENTID",
        values=lambda one: {"AZURE_APPCONFIGURATION_ENDPOINT": f"https://{one.name}.azconfig.io"},
    ),
    TargetKind(
        command="cosmos-sql",
        type=COSMOS,
        below=r"/sqldatabases/[^/]+",
        roles=(service_roles.DOCUMENTDB_ACCOUNT_CONTRIBUTOR,),
        client_id="AZURE_COSMOS_CLIENTID",
        values=_cosmos,
    ),
    TargetKind(
        command="cognitiveservices",
        type=AI,
        below="",
        roles=(service_roles.COGNITIVE_SERVICES_USER,),
        client_id="AZURE_COGNITIVESERVICES_CLIENTID",
        values=lambda one: {
            "AZURE_COGNITIVESERVICES_ENDPOINT": f"https://{one.name}.cognitiveservices.azure.com/"
        },
    ),
    # Redis grants access by policies of its own, which are not roles.
    TargetKind(
        command="redis",
        type=REDIS,
        below=r"/databases/[^/]+",
        roles=(),
        client_id="AZURE_REDIS_CLIENTID",
        values=lambda one: {"AZURE_REDIS_HOST": f"{one.name}.redis.cache.windows.net"},
    ),
)
TYPES = tuple(dict.fromkeys(kind.type for kind in KINDS))
# Types that podpass stores and does not serve.
STORED_TYPES = tuple(each for each in TYPES if each not in (VAULT, STORAGE))


def is_name(name: str) -> bool:
    """Return whether a name can be a label in the host names that pods receive."""
    return _NAME.fullmatch(name) is not None


def parse(target_id: str) -> tuple[TargetName, TargetKind] | None:
    """Split a target id; None for a target that is not supported."""
    found = _ANY.fullmatch(target_id.rstrip("/"))
    if found is None:
        return None
    resource_id, subscription_id, group, kind, name, below = found.groups(default="")
    if not is_name(name):
        return None
    for one in KINDS:
        if one.type.lower() == kind.lower() and re.fullmatch(one.below, below.lower()):
            target = TargetName(
                resource_id=resource_id,
                subscription_id=subscription_id.lower(),
                group=group,
                type=one.type,
                name=name,
            )
            return target, one
    return None


def specialize(kind: TargetKind, stored: OtherResource | None) -> TargetKind:
    """Return the kind of a stored resource: an Azure AI account of the kind OpenAI has its own values."""
    is_openai = stored is not None and stored.document.get("kind") == "OpenAI"
    return _OPENAI if kind.type == AI and is_openai else kind


def configuration(
    target: TargetName, kind: TargetKind, client_id: str, renamed: Mapping[str, str]
) -> dict[str, str]:
    """Return the values that a pod receives; `renamed` maps default keys to customized ones.

    Raises ValueError for a customized key of no value, or one that two values would have.
    """
    values = {**kind.values(target), kind.client_id: client_id}
    if unknown := sorted(renamed.keys() - values.keys()):
        raise ValueError(f"'{unknown[0][:80]}' is not among the keys {', '.join(values)}")
    found = {renamed.get(key, key): value for key, value in values.items()}
    if len(found) < len(values):
        raise ValueError("two values have the same customized key")
    return found
