"""Rules for a write of an identity: default values, immutable attributes, audit events. Pure."""

import uuid
from collections.abc import Iterator
from dataclasses import replace

from podpass.directory import errors
from podpass.directory.model import FederatedCredential, Identity, IdentityKind

MANAGED = "Microsoft.ManagedIdentity/userAssignedIdentities"
TRUST = f"{MANAGED}/federatedIdentityCredentials"
APPLICATION = "microsoft.directory/applications"
PRINCIPAL = "microsoft.directory/servicePrincipals"

_IMMUTABLE = ("kind", "resource_id", "application_id", "location")
_SECRETS = ("credentials", "passwords", "keys")
_OF_PRINCIPAL = ("has_principal", "object_id", "enabled", "principal")


def normalize(old: Identity | None, new: Identity, now: float) -> Identity:
    """Return an identity as the store saves it: sorted lists, generated ids, existing ids and times.

    An application that loses its service principal gets a new object id, so that a later service principal
    does not inherit the assignments of the old one.
    """
    before = {one.name: one for one in old.credentials} if old else {}
    credentials = [_credential(before.get(one.name), one, now) for one in new.credentials]
    application_id = new.application_id or (old.application_id if old else None)
    if new.kind is IdentityKind.APPLICATION:
        application_id = application_id or str(uuid.uuid4())
    lost = old is not None and old.has_principal and not new.has_principal
    return replace(
        new,
        application_id=application_id,
        object_id=str(uuid.uuid4()) if lost else new.object_id,
        location=new.location or (old.location if old else ""),
        created=(old.created if old else new.created) or now,
        credentials=tuple(sorted(credentials, key=lambda one: one.name)),
        passwords=tuple(sorted(new.passwords, key=lambda one: (one.begins, one.key_id))),
        keys=tuple(sorted(new.keys, key=lambda one: (one.begins, one.key_id))),
    )


def _credential(
    old: FederatedCredential | None, new: FederatedCredential, now: float
) -> FederatedCredential:
    if old is not None:
        return replace(new, id=old.id, created=old.created)
    return replace(new, id=new.id or str(uuid.uuid4()), created=new.created or now)


def check_immutable(old: Identity, new: Identity) -> None:
    """Reject changes of immutable attributes. Raises Conflict."""
    # An empty location can still be set.
    changed = [
        field
        for field in _IMMUTABLE
        if getattr(old, field) != getattr(new, field) and (field != "location" or old.location)
    ]
    if new.kind is IdentityKind.MANAGED_IDENTITY and old.name != new.name:
        changed.append("name")
    if old.unique_name is not None and old.unique_name != new.unique_name:
        changed.append("unique_name")
    if old.has_principal and new.has_principal and old.object_id != new.object_id:
        changed.append("object_id")
    if changed:
        raise errors.Conflict(
            f"{', '.join(changed)} of an identity cannot change",
            client_id=new.client_id,
            fields=changed,
        )


def audit_events(old: Identity | None, new: Identity | None) -> Iterator[tuple[str, str]]:
    """Yield action and target of every change between two states of an identity."""
    one = new or old
    assert one is not None
    if one.kind is IdentityKind.MANAGED_IDENTITY:
        yield from _managed_identity_events(old, new)
    else:
        yield from _application_events(old, new)


def _managed_identity_events(
    old: Identity | None, new: Identity | None
) -> Iterator[tuple[str, str]]:
    if new is None:
        assert old is not None
        yield f"{MANAGED}/delete", old.resource_id or ""
        return
    target = new.resource_id or ""
    if old is None or replace(old, credentials=new.credentials) != new:
        yield f"{MANAGED}/write", target
    before = {one.name: one for one in old.credentials} if old else {}
    for one in new.credentials:
        if before.pop(one.name, None) != one:
            yield f"{TRUST}/write", f"{target}/federatedIdentityCredentials/{one.name}"
    for name in before:
        yield f"{TRUST}/delete", f"{target}/federatedIdentityCredentials/{name}"


def _application_events(old: Identity | None, new: Identity | None) -> Iterator[tuple[str, str]]:
    if new is None:
        assert old is not None
        if old.has_principal:
            yield f"{PRINCIPAL}/delete", old.object_id
        yield f"{APPLICATION}/delete", old.application_id or ""
        return
    target = new.application_id or ""
    if old is None:
        yield f"{APPLICATION}/create", target
        if new.has_principal:
            yield f"{PRINCIPAL}/create", new.object_id
        return
    if _differ(old, new, _SECRETS):
        yield f"{APPLICATION}/credentials/update", target
    if old.has_principal != new.has_principal:
        created = new.has_principal
        action = "create" if created else "delete"
        yield f"{PRINCIPAL}/{action}", (new if created else old).object_id
    elif _differ(old, new, _OF_PRINCIPAL):
        yield f"{PRINCIPAL}/basic/update", new.object_id
    others = {name: getattr(new, name) for name in (*_SECRETS, *_OF_PRINCIPAL)}
    if replace(old, **others) != new:
        yield f"{APPLICATION}/basic/update", target


def _differ(old: Identity, new: Identity, fields: tuple[str, ...]) -> bool:
    return any(getattr(old, field) != getattr(new, field) for field in fields)
