"""What every token asks for first, by one statement: an identity with all it holds, or with the one
credential that an assertion names.

The parts come as rows of one shape, told apart by a number, so that they are of one state of the database
and cost one exchange with it. `rows` reads the same for lists and for writes, where that does not count.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeVar

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
from podpass.database.column_types import BEGIN, END
from podpass.directory.model import (
    FederatedCredential,
    Identity,
    IdentityKind,
    KeyCredential,
    PasswordCredential,
)
from podpass.directory.store.rows import from_json
from podpass.directory.store.schema import (
    federated_credentials,
    identifier_uris,
    identities,
    key_credentials,
    password_credentials,
)

_IDENTITY, _CREDENTIAL, _URI, _PASSWORD, _KEY = range(5)
_TEXTS = 10
_name, _age = itemgetter(6), itemgetter(1, 6)
_NOTHING = cast(null(), LargeBinary)
# SQLite keeps any value in any column; whatever else stands there permits nothing.
_FLAGS = {0: False, 1: True}
_here, _there = identities.c, federated_credentials.c
Held = TypeVar("Held")


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one table: what gives them, what their values have to be, and where each is named."""

    table: Table
    query: Select[Any]
    types: database.Types
    named: int

    def check(self, client_id: str, row: Sequence[Any]) -> None:
        """Tell a row of which a value is of another type.

        Errors:  RowDamaged.
        """
        key = client_id if self.table is identities else f"{client_id}/{row[self.named]}"
        with database.shaping(self.table.name, key):
            self.types.check(row)


def _part(
    number: int,
    table: Table,
    *texts: Column[Any],
    first: ColumnElement[Any],
    second: ColumnElement[Any] = literal_column("0.0", Double),  # noqa: B008 - a constant
    flags: Sequence[ColumnElement[Any]] = (null(), null()),
    blob: ColumnElement[Any] = _NOTHING,
    named: int = 6,
    where: Sequence[ColumnElement[bool]] = (),
) -> _Part:
    padding = [null()] * (_TEXTS - len(texts))
    given = (literal_column(str(number)), first, second, *flags, blob, *texts, *padding)
    query = select(*given).where(
        table.c.tenant_id == bindparam("tenant_id"),
        table.c.client_id == bindparam("client_id"),
        *where,
    )
    return _Part(table, query, _types(given), named)


def _types(given: Sequence[object]) -> database.Types:
    places = [one if isinstance(one, Column) else None for one in given]
    return database.Types(places, from_driver=True)


_PARTS = (
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
        # All have one; said so that SQLite goes by the index of names, which is the smaller one.
        where=(_there.name > "",),
    ),
    _part(
        _URI,
        identifier_uris,
        *(identifier_uris.c.uri, identifier_uris.c.uri_key),
        first=identifier_uris.c.place,
        named=7,
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
IDENTITY = Prepared(union_all(*(part.query for part in _PARTS)))


# An identity with one credential at most, by an index of its own: it may have twenty, and secrets and
# certificates beside, of which a federated exchange needs nothing.
_TRUSTED = (
    *(_here.object_id, _here.name, _here.kind, _here.resource_id),
    *(_here.has_principal, _here.enabled, _here.created),
)
_TRUST = (
    *(_there.created, _there.name, _there.issuer, _there.subject),
    *(_there.audience, _there.description, _there.id),
)
TRUSTING = Prepared(
    select(*_TRUSTED, *_TRUST)
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
_TRUSTED_TYPES, _TRUST_TYPES = _types(_TRUSTED), _types(_TRUST)


def to_trusting(tenant_id: str, client_id: str, found: Sequence[Sequence[Any]]) -> Identity | None:
    """Make an identity of the row of `TRUSTING`, if there is one and it holds the credential.

    Errors:  RowDamaged.
    """
    if not found or found[0][_CREDENTIAL_NAME] is None:
        return None
    [row] = found
    object_id, name, kind, resource_id, has_principal, enabled, created, *credential = row
    try:
        _TRUSTED_TYPES.check(row[:7])
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
    except database.WRONG as exc:
        with database.shaping("federated_credentials", f"{client_id}/{credential[1]}"):
            _TRUST_TYPES.check(credential)
        raise database.damaged("identities", client_id, exc) from exc


def to_identity(tenant_id: str, client_id: str, parts: Sequence[Sequence[Any]]) -> Identity | None:
    """Put the rows of `IDENTITY` together; None if there is no such identity.

    Errors:  RowDamaged.
    """
    of: list[list[Sequence[Any]]] = [[] for _ in _PARTS]
    for part in parts:
        of[part[0]].append(part)
    if not of[_IDENTITY]:
        return None
    try:
        return _shaped(tenant_id, client_id, of)
    except database.WRONG as exc:
        # Whose value it was is asked only now: twenty credentials are read for every token.
        for part in parts:
            _PARTS[part[0]].check(client_id, part)
        raise database.damaged("identities", client_id, exc) from exc


def _shaped(tenant_id: str, client_id: str, of: Sequence[Sequence[Sequence[Any]]]) -> Identity:
    [row] = of[_IDENTITY]
    _PARTS[_IDENTITY].types.check(row)
    _, created, _, has_principal, enabled, _, *texts = row
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
        identifier_uris=_held(_URI, of, _name),
        credentials=tuple(
            _credential(one[1], *one[6:12]) for one in sorted(of[_CREDENTIAL], key=_name)
        ),
        passwords=_held(_PASSWORD, of, _password),
        keys=_held(_KEY, of, _key),
        location=location,
        tags=from_json(tags),
        created=created,
        document=from_json(document),
        principal=from_json(principal),
    )


def _held(
    number: int, of: Sequence[Sequence[Sequence[Any]]], shape: Callable[[Sequence[Any]], Held]
) -> tuple[Held, ...]:
    """Shape what an identity holds of one kind, the oldest first."""
    if not (held := of[number]):
        return ()
    check = _PARTS[number].types.check
    for row in held:
        check(row)
    return tuple(map(shape, sorted(held, key=_age)))


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
    # As `_Part.check` asks of it, by a fifth of the time: only whether, not what.
    if not (
        type(name) is type(subject) is type(description) is type(id_) is str
        and type(created) is float
        and BEGIN <= created < END
    ):
        raise TypeError("a federated credential holds a value that is none of its column's")
    made = _new(FederatedCredential)
    _set_created(made, created)
    _set_name(made, name)
    # Many trust the same issuer for the same audience: kept once for all of them.
    _set_issuer(made, sys.intern(issuer))
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
