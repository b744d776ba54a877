"""What every token asks for first, by one statement: an identity with all it holds, or with the one
credential that an assertion names.

The parts come as rows of one shape, told apart by a number, so that they are of one state of the database
and cost one exchange with it. `rows` reads the same for lists and for writes, where that does not count.
"""

import sys
from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Double,
    LargeBinary,
    Select,
    Table,
    and_,
    bindparam,
    cast,
    literal_column,
    null,
    select,
    union_all,
)

from podpass import database
from podpass.database import Prepared
from podpass.directory.model import (
    FederatedCredential,
    Identity,
    IdentityKind,
    KeyCredential,
    PasswordCredential,
)
from podpass.directory.rows import from_json
from podpass.directory.schema import (
    federated_credentials,
    identifier_uris,
    identities,
    key_credentials,
    password_credentials,
)

_IDENTITY, _CREDENTIAL, _URI, _PASSWORD, _KEY = range(5)
_TEXTS = 10
_name = itemgetter(6)
_NOTHING = cast(null(), LargeBinary)
# SQLite keeps any value in any column; whatever else stands there permits nothing.
_FLAGS = {0: False, 1: True}
_here, _there = identities.c, federated_credentials.c


def _part(
    number: int,
    table: Table,
    *texts: Column[Any],
    first: ColumnElement[Any],
    second: ColumnElement[Any] = literal_column("0.0", Double),  # noqa: B008 - a constant
    flags: Sequence[ColumnElement[Any]] = (null(), null()),
    blob: ColumnElement[Any] = _NOTHING,
) -> Select[Any]:
    padding = [null()] * (_TEXTS - len(texts))
    return select(literal_column(str(number)), first, second, *flags, blob, *texts, *padding).where(
        table.c.tenant_id == bindparam("tenant_id"), table.c.client_id == bindparam("client_id")
    )


IDENTITY = Prepared(
    union_all(
        _part(
            _IDENTITY,
            identities,
            *(_here.object_id, _here.name, _here.kind, _here.resource_id, _here.application_id),
            *(_here.unique_name, _here.location, _here.tags, _here.document, _here.principal),
            first=_here.created,
            flags=(_here.has_principal, _here.enabled),
        ),
        _part(
            _CREDENTIAL,
            federated_credentials,
            *(_there.name, _there.issuer, _there.subject, _there.audience),
            *(_there.description, _there.id),
            first=_there.created,
            # All are; said so that SQLite goes by the index of names, which is the smaller one.
        ).where(_there.name > ""),
        _part(
            _URI,
            identifier_uris,
            identifier_uris.c.uri,
            first=cast(identifier_uris.c.place, Double),
        ),
        *(
            _part(
                number,
                table,
                *(table.c.key_id, table.c.display_name, third),
                first=table.c.begins,
                second=table.c.expires,
                blob=blob,
            )
            for number, table, third, blob in (
                (
                    _PASSWORD,
                    password_credentials,
                    password_credentials.c.hint,
                    password_credentials.c.digest,
                ),
                (
                    _KEY,
                    key_credentials,
                    key_credentials.c.thumbprint,
                    key_credentials.c.certificate,
                ),
            )
        ),
    )
)


# An identity with one credential at most, by an index of its own: it may have twenty, and secrets and
# certificates beside, of which a federated exchange needs nothing.
TRUSTING = Prepared(
    select(
        *(_here.object_id, _here.name, _here.kind, _here.resource_id),
        *(_here.has_principal, _here.enabled, _here.created),
        *(_there.created, _there.name, _there.issuer, _there.subject),
        *(_there.audience, _there.description, _there.id),
    )
    .outerjoin_from(
        identities,
        federated_credentials,
        and_(
            _there.tenant_id == _here.tenant_id,
            _there.client_id == _here.client_id,
            _there.issuer == bindparam("issuer"),
            _there.subject == bindparam("subject"),
        ),
    )
    .where(
        _here.tenant_id == bindparam("tenant_id"),
        _here.client_id == bindparam("client_id"),
    )
)

_CREDENTIAL_NAME = 8  # its place in that row; null where the identity holds no such credential


def to_trusting(tenant_id: str, client_id: str, found: Sequence[Sequence[Any]]) -> Identity | None:
    """Make an identity of the row of `TRUSTING`, if there is one and it holds the credential.

    Errors:  RowDamaged.
    """
    if not found or found[0][_CREDENTIAL_NAME] is None:
        return None
    [(object_id, name, kind, resource_id, has_principal, enabled, created, *credential)] = found
    with database.shaping("identities", client_id):
        return Identity(
            tenant_id=tenant_id,
            client_id=client_id,
            object_id=object_id,
            name=name,
            kind=IdentityKind(kind),
            resource_id=resource_id,
            has_principal=_FLAGS[has_principal],
            enabled=_FLAGS[enabled],
            credentials=(_credential(*credential),),
            created=created,
        )


def to_identity(tenant_id: str, client_id: str, parts: Sequence[Sequence[Any]]) -> Identity | None:
    """Put the rows of `IDENTITY` together; None if there is no such identity.

    Errors:  RowDamaged.
    """
    of: list[list[Sequence[Any]]] = [[] for _ in range(_KEY + 1)]
    for part in parts:
        of[part[0]].append(part)
    if not of[_IDENTITY]:
        return None
    with database.shaping("identities", client_id):
        return _shaped(tenant_id, client_id, of)


def _shaped(tenant_id: str, client_id: str, of: Sequence[Sequence[Sequence[Any]]]) -> Identity:
    [(_, created, _, has_principal, enabled, _, *texts)] = of[_IDENTITY]
    object_id, name, kind, resource_id, application_id, unique_name, *rest = texts
    location, tags, document, principal = rest
    return Identity(
        tenant_id=tenant_id,
        client_id=client_id,
        object_id=object_id,
        name=name,
        kind=IdentityKind(kind),
        resource_id=resource_id,
        application_id=application_id,
        unique_name=unique_name,
        has_principal=_FLAGS[has_principal],
        enabled=_FLAGS[enabled],
        identifier_uris=tuple(one[6] for one in sorted(of[_URI], key=_age)),
        credentials=tuple(
            _credential(one[1], *one[6:12]) for one in sorted(of[_CREDENTIAL], key=_name)
        ),
        passwords=tuple(_password(one) for one in sorted(of[_PASSWORD], key=_age)),
        keys=tuple(_key(one) for one in sorted(of[_KEY], key=_age)),
        location=location,
        tags=from_json(tags),
        created=created,
        document=from_json(document),
        principal=from_json(principal),
    )


def _age(part: Sequence[Any]) -> Any:
    return part[1], part[6]


# A frozen class makes its instances field by field and by name. Twenty of them are most of what a look-up
# costs beside its statement; set by their slots, they cost a third. A field more is an error at import.
_SLOTS = (getattr(FederatedCredential, one.name).__set__ for one in fields(FederatedCredential))
_set_name, _set_issuer, _set_subject, _set_audiences, _set_description, _set_id, _set_created = (
    _SLOTS
)
_new = object.__new__


def _credential(
    created: Any, name: Any, issuer: Any, subject: Any, audience: Any, description: Any, id_: Any
) -> FederatedCredential:
    made = _new(FederatedCredential)
    _set_created(made, created)
    _set_name(made, name)
    # Many trust the same issuer for the same audience: kept once for all of them.
    _set_issuer(made, sys.intern(issuer))
    if type(subject) is not str:
        raise TypeError(f"the subject of the federated credential {name} is no text")
    _set_subject(made, subject)
    _set_audiences(made, _audiences(audience))
    _set_description(made, description)
    _set_id(made, id_)
    return made


@lru_cache(1024)
def _audiences(audience: object) -> tuple[str, ...]:
    if type(audience) is not str:
        raise TypeError("the audience of a federated credential is no text")
    return (audience,)


def _password(part: Sequence[Any]) -> PasswordCredential:
    _, begins, expires, _, _, digest, key_id, display_name, hint, *_ = part
    return PasswordCredential(
        key_id=key_id,
        display_name=display_name,
        hint=hint,
        digest=bytes(digest),
        begins=begins,
        expires=expires,
    )


def _key(part: Sequence[Any]) -> KeyCredential:
    _, begins, expires, _, _, certificate, key_id, display_name, thumbprint, *_ = part
    return KeyCredential(
        key_id=key_id,
        display_name=display_name,
        certificate=bytes(certificate),
        thumbprint=thumbprint,
        begins=begins,
        expires=expires,
    )
