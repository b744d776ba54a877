"""What a write makes of an identity: what it fills in, what cannot change, what the audit is told. Pure."""

import uuid
from collections.abc import Iterator
from dataclasses import replace

from podpass.directory import errors
from podpass.directory.model import FederatedCredential, Identity, IdentityKind

MANAGED = "Microsoft.ManagedIdentity/userAssignedIdentities"
TRUST = f"{MANAGED}/federatedIdentityCredentials"
APPLICATION = "microsoft.directory/applications"
PRINCIPAL = "microsoft.directory/servicePrincipals"

_FIXED = ("kind", "resource_id", "application_id", "location")
_SECRETS = ("credentials", "passwords", "keys")
_OF_PRINCIPAL = ("has_principal", "object_id", "enabled", "principal")


def settled(old: Identity | None, new: Identity, now: float) -> Identity:
    """Give an identity as it is kept: lists in order, ids made, times of what is there already kept.

    Whoever loses its service principal gets another object id with the next one, so that nothing given
    to the old one comes with it.
    """
    was = {one.name: one for one in old.credentials} if old else {}
    credentials = [_credential(was.get(one.name), one, now) for one in new.credentials]
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
    was: FederatedCredential | None, new: FederatedCredential, now: float
) -> FederatedCredential:
    if was is not None:
        return replace(new, id=was.id, created=was.created)
    return replace(new, id=new.id or str(uuid.uuid4()), created=new.created or now)


def check_fixed(old: Identity, new: Identity) -> None:
    """Refuse to change what an identity is found by elsewhere.

    Errors:  Conflict.
    """
    # A location that was never told may still be.
    changed = [
        field
        for field in _FIXED
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


def audited(old: Identity | None, new: Identity | None) -> Iterator[tuple[str, str]]:
    """Give action and target of every change between two states of one identity."""
    one = new or old
    assert one is not None
    if one.kind is IdentityKind.MANAGED_IDENTITY:
        yield from _of_managed(old, new)
    else:
        yield from _of_application(old, new)


def _of_managed(old: Identity | None, new: Identity | None) -> Iterator[tuple[str, str]]:
    if new is None:
        assert old is not None
        yield f"{MANAGED}/delete", old.resource_id or ""
        return
    target = new.resource_id or ""
    if old is None or replace(old, credentials=new.credentials) != new:
        yield f"{MANAGED}/write", target
    was = {one.name: one for one in old.credentials} if old else {}
    for one in new.credentials:
        if was.pop(one.name, None) != one:
            yield f"{TRUST}/write", f"{target}/federatedIdentityCredentials/{one.name}"
    for name in was:
        yield f"{TRUST}/delete", f"{target}/federatedIdentityCredentials/{name}"


def _of_application(old: Identity | None, new: Identity | None) -> Iterator[tuple[str, str]]:
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
        made = new.has_principal
        yield f"{PRINCIPAL}/{'create' if made else 'delete'}", (new if made else old).object_id
    elif _differ(old, new, _OF_PRINCIPAL):
        yield f"{PRINCIPAL}/basic/update", new.object_id
    others = {name: getattr(new, name) for name in (*_SECRETS, *_OF_PRINCIPAL)}
    if replace(old, **others) != new:
        yield f"{APPLICATION}/basic/update", target


def _differ(old: Identity, new: Identity, fields: tuple[str, ...]) -> bool:
    return any(getattr(old, field) != getattr(new, field) for field in fields)
