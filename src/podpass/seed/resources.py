"""Resources of a seed file: APIs that tokens can be requested for, in addition to Microsoft's.

A resource is stored as an application of the tenant, with identifier URIs and delegated permissions.
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from podpass.directory import errors, naming, resources, rules
from podpass.directory.model import Identity, IdentityKind
from podpass.guids import is_lower_guid
from podpass.seed.yaml_reader import Reader, line_of

KEYS = ("name", "application_id", "uris", "permissions")
_DEFAULT_PERMISSION = "user_impersonation"
_PERMISSION = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,119}")
_SPACE = uuid.UUID("2f4d1f0e-9f53-4f5e-8a3c-6d2f1a7c9b10")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedResource:
    """A resource: its name, application ID, identifier URIs and delegated permissions."""

    line: int
    name: str
    application_id: str | None = None
    uris: tuple[str, ...] = ()
    permissions: tuple[str, ...] = (_DEFAULT_PERMISSION,)


def parse_resource(read: Reader, node: yaml.Node) -> SeedResource:
    """Parse a resource; report each problem with its line."""
    entry = read.read_mapping(node, "resource", KEYS, required=("name", "uris"))
    given = read.read_text(entry.get("name"), "resource: name")
    name = given or ""
    where = f"resource {name}".rstrip()
    if given is not None and (fault := rules.name_fault(name, IdentityKind.APPLICATION)):
        read.add_problem(line_of(entry["name"]), f"{where}: {fault.message}")
    listed = [*read.read_list(entry.get("uris"), f"{where}: uris")]
    if "uris" in entry and not listed:
        read.add_problem(line_of(node), f"{where}: want at least one URI")
    uris = [_parse_uri(read, each, where) for each in listed]
    permissions = [
        _parse_permission(read, each, where)
        for each in read.read_list(entry.get("permissions"), f"{where}: permissions")
    ]
    return SeedResource(
        line=line_of(node),
        name=name,
        application_id=_parse_id(read, entry.get("application_id"), where),
        uris=tuple(uri for uri in uris if uri),
        permissions=tuple(permissions) if "permissions" in entry else (_DEFAULT_PERMISSION,),
    )


def _parse_uri(read: Reader, node: yaml.Node, where: str) -> str:
    uri = read.read_text(node, f"{where}: uris")
    if uri is None:
        return ""
    if fault := naming.uri_fault(uri):
        read.add_problem(line_of(node), f"{where}: {fault.message}")
    elif found := resources.Resources().find(uri):
        read.add_problem(line_of(node), f"{where}: {uri} belongs to {found.display_name}")
    return uri


def _parse_permission(read: Reader, node: yaml.Node, where: str) -> str:
    name = read.read_text(node, f"{where}: permissions")
    if name is not None and _PERMISSION.fullmatch(name) is None:
        read.add_problem(
            line_of(node), f"{where}: permission {name!r}: want letters, digits, . _ -"
        )
    return name or ""


def _parse_id(read: Reader, node: yaml.Node | None, where: str) -> str | None:
    text = read.read_text(node, f"{where}: application_id")
    if text is None or node is None:
        return None
    known = {one.app_id: one.display_name for one in resources.BUILT_IN}
    if not is_lower_guid(text.lower()):
        read.add_problem(line_of(node), f"{where}: application_id {text!r}: want a GUID")
    elif owner := known.get(text.lower()):
        read.add_problem(line_of(node), f"{where}: application_id {text} belongs to {owner}")
    return text.lower()


def create_application(wanted: SeedResource, old: Identity | None, tenant_id: str) -> Identity:
    """Return the application of a resource; its existing URIs and permissions are preserved.

    Raises Conflict.
    """
    if old is None:
        client_id = wanted.application_id or str(uuid.uuid4())
        old = Identity(
            tenant_id=tenant_id,
            client_id=client_id,
            object_id=str(uuid.uuid4()),
            name=wanted.name,
            kind=IdentityKind.APPLICATION,
            # As Microsoft's own resources: `aud` is the URI that the client requested.
            document={"api": {"requestedAccessTokenVersion": 1}},
        )
    if old.kind is not IdentityKind.APPLICATION:
        raise errors.Conflict(f"exists already as {old.kind.value}")
    if wanted.application_id not in (None, old.client_id):
        raise errors.Conflict(f"its application_id is {old.client_id} and cannot change")
    existing = {naming.uri_key(uri) for uri in old.identifier_uris}
    missing = [uri for uri in wanted.uris if naming.uri_key(uri) not in existing]
    return replace(
        old,
        identifier_uris=(*old.identifier_uris, *missing),
        document={**old.document, "api": _with_permissions(old, wanted.permissions)},
    )


def _with_permissions(old: Identity, names: tuple[str, ...]) -> Mapping[str, Any]:
    api = old.document.get("api")
    api = dict(api) if isinstance(api, Mapping) else {}
    scopes = list(api.get("oauth2PermissionScopes") or ())
    existing = {scope.get("value") for scope in scopes if isinstance(scope, Mapping)}
    scopes += [_permission(old, name) for name in names if name not in existing]
    return {**api, "oauth2PermissionScopes": scopes}


def _permission(application: Identity, name: str) -> dict[str, Any]:
    text = f"{application.name}: {name}"
    return {
        "id": str(uuid.uuid5(_SPACE, f"{application.client_id}/{name}")),
        "value": name,
        "type": "User",
        "isEnabled": True,
        "adminConsentDisplayName": text,
        "adminConsentDescription": text,
        "userConsentDisplayName": text,
        "userConsentDescription": text,
    }
