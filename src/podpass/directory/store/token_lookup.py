"""Reads the identity for a token request with one statement.

The result is the complete identity, or the identity with the one federated credential that an assertion
names. The rows of all tables have one format with the number of the table, so that one round trip reads one
state of the database. `rows` reads identities for lists and writes, which need less speed.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

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
    false,
    literal_column,
    null,
    select,
    union_all,
)

from podpass import database
from podpass.database import PreparedStatement
from podpass.database.column_types import MAX_TIME, MIN_TIME
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
_NO_BLOB = cast(null(), LargeBinary)
_identity, _federated = identities.c, federated_credentials.c
Owned = TypeVar("Owned")


class _Row(NamedTuple):
    """A row of any of the tables; a column that the table does not have is NULL.

    `begins` is also the time of creation, and the place in a list.
    """

    number: int
    begins: Any
    expires: Any
    flag: Any
    flag_2: Any
    blob: Any
    text: Any
    text_2: Any
    text_3: Any
    text_4: Any
    text_5: Any
    text_6: Any
    text_7: Any
    text_8: Any
    text_9: Any
    text_10: Any


_first_text, _age = attrgetter("text"), attrgetter("begins", "text")


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one table: their query, the check of their values, and the column with the key."""

    table: Table
    query: Select[Any]
    values: database.RowCheck
    key: str

    def check(self, client_id: str, row: _Row) -> None:
        """Check one row. Raises CorruptRowError."""
        key = client_id if self.table is identities else f"{client_id}/{getattr(row, self.key)}"
        with database.decoding_row(self.table.name, key):
            self.values.check(row)


def _part(
    number: int,
    table: Table,
    *texts: Column[Any],
    first: ColumnElement[Any],
    second: ColumnElement[Any] = literal_column("0.0", Double),  # noqa: B008 - a constant
    flags: Sequence[ColumnElement[Any]] = (null(), null()),
    blob: ColumnElement[Any] = _NO_BLOB,
    key: str = "text",
    where: Sequence[ColumnElement[bool]] = (),
) -> _Part:
    padding = [null()] * (_TEXTS - len(texts))
    given = (literal_column(str(number)), first, second, *flags, blob, *texts, *padding)
    query = select(*given).where(
        table.c.tenant_id == bindparam("tenant_id"),
        table.c.client_id == bindparam("client_id"),
        *where,
    )
    return _Part(table, query, _row_check(given), key)


def _row_check(given: Sequence[object]) -> database.RowCheck:
    return database.RowCheck(one if isinstance(one, Column) else None for one in given)


_PARTS = (
    _part(
        _IDENTITY,
        identities,
        *(
            _identity.object_id,
            _identity.name,
            _identity.kind,
            _identity.resource_id,
            _identity.application_id,
        ),
        *(
            _identity.unique_name,
            _identity.location,
            _identity.tags,
            _identity.document,
            _identity.principal,
        ),
        first=_identity.created,
        flags=(_identity.has_principal, _identity.enabled),
    ),
    _part(
        _CREDENTIAL,
        federated_credentials,
        *(_federated.name, _federated.issuer, _federated.subject, _federated.audience),
        *(_federated.description, _federated.id),
        first=_federated.created,
        flags=(_federated.is_flexible, null()),
        # Always true. It makes SQLite use the index of names, which is smaller.
        where=(_federated.name > "",),
    ),
    _part(
        _URI,
        identifier_uris,
        *(identifier_uris.c.uri, identifier_uris.c.uri_key),
        first=identifier_uris.c.place,
        key="text_2",
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
IDENTITY = PreparedStatement(union_all(*(part.query for part in _PARTS)))


# An identity with at most one federated credential, found by an index. An identity may have twenty of them,
# and secrets and certificates, which a federated exchange does not need.
_TRUSTED = (
    *(_identity.object_id, _identity.name, _identity.kind, _identity.resource_id),
    *(_identity.has_principal, _identity.enabled, _identity.created),
)
_TRUST = (
    *(_federated.created, _federated.name, _federated.issuer, _federated.subject),
    *(_federated.audience, _federated.description, _federated.id),
)
TRUSTING = PreparedStatement(
    select(*_TRUSTED, *_TRUST)
    .outerjoin_from(
        identities,
        federated_credentials,
        and_(
            _federated.tenant_id == _identity.tenant_id,
            _federated.client_id == _identity.client_id,
            _federated.issuer == bindparam("issuer"),
            _federated.subject == bindparam("subject"),
            # A token whose subject is the text of an expression must not match it.
            _federated.is_flexible.is_(false()),
        ),
    )
    .where(
        _identity.tenant_id == bindparam("tenant_id"),
        _identity.client_id == bindparam("client_id"),
    )
)

_IDENTITY_CHECK, _CREDENTIAL_CHECK = _row_check(_TRUSTED), _row_check(_TRUST)


def to_trusting(tenant_id: str, client_id: str, found: Sequence[Sequence[Any]]) -> Identity | None:
    """Build an identity from the row of `TRUSTING`. Return None without a row or a credential in it.

    Raises CorruptRowError.
    """
    if not found:
        return None
    [row] = found
    identity, credential = row[: len(_TRUSTED)], row[len(_TRUSTED) :]
    object_id, name, kind, resource_id, has_principal, enabled, created = identity
    _, credential_name, *_ = credential
    if credential_name is None:  # the identity has no such credential
        return None
    try:
        _IDENTITY_CHECK.check(identity)
        return Identity(
            tenant_id=tenant_id,
            client_id=client_id,
            object_id=object_id,
            name=name,
            kind=IdentityKind(kind),
            resource_id=resource_id,
            has_principal=bool(has_principal),
            enabled=bool(enabled),
            credentials=(_to_credential(*credential, is_flexible=0),),
            created=created,
        )
    except database.DECODE_ERRORS as exc:
        with database.decoding_row("federated_credentials", f"{client_id}/{credential_name}"):
            _CREDENTIAL_CHECK.check(credential)
        raise database.corrupt_row("identities", client_id, exc) from exc


def to_identity(tenant_id: str, client_id: str, parts: Sequence[Sequence[Any]]) -> Identity | None:
    """Build an identity from the rows of `IDENTITY`. Return None if it does not exist.

    Raises CorruptRowError.
    """
    rows = [_Row._make(part) for part in parts]
    by_table: list[list[_Row]] = [[] for _ in _PARTS]
    for row in rows:
        by_table[row.number].append(row)
    if not by_table[_IDENTITY]:
        return None
    try:
        return _build(tenant_id, client_id, by_table)
    except database.DECODE_ERRORS as exc:
        # Find the corrupt row only now: every token request reads up to twenty credentials, and a check of
        # each would be slow.
        for row in rows:
            _PARTS[row.number].check(client_id, row)
        raise database.corrupt_row("identities", client_id, exc) from exc


def _build(tenant_id: str, client_id: str, by_table: Sequence[Sequence[_Row]]) -> Identity:
    [row] = by_table[_IDENTITY]
    _PARTS[_IDENTITY].values.check(row)
    return Identity(
        tenant_id=tenant_id,
        client_id=client_id,
        object_id=row.text,
        name=row.text_2,
        kind=IdentityKind(row.text_3),
        resource_id=row.text_4,
        application_id=row.text_5,
        unique_name=row.text_6,
        has_principal=bool(row.flag),
        enabled=bool(row.flag_2),
        identifier_uris=_build_children(_URI, by_table, _first_text),
        credentials=tuple(
            _to_credential(
                *(one.begins, one.text, one.text_2, one.text_3, one.text_4, one.text_5, one.text_6),
                is_flexible=one.flag,
            )
            for one in sorted(by_table[_CREDENTIAL], key=_first_text)
        ),
        passwords=_build_children(_PASSWORD, by_table, _to_password),
        keys=_build_children(_KEY, by_table, _to_key),
        location=row.text_7,
        tags=from_json(row.text_8),
        created=row.begins,
        document=from_json(row.text_9),
        principal=from_json(row.text_10),
    )


def _build_children(
    number: int, by_table: Sequence[Sequence[_Row]], build: Callable[[_Row], Owned]
) -> tuple[Owned, ...]:
    """Build the objects of an identity from the rows of one table, oldest first."""
    if not (rows := by_table[number]):
        return ()
    check = _PARTS[number].values.check
    for row in rows:
        check(row)
    return tuple(map(build, sorted(rows, key=_age)))


# Creating twenty instances of a frozen dataclass takes most of the CPU of a lookup. Setting the slots
# directly takes a third of it. If the fields of FederatedCredential change, this line fails at import.
_SLOTS = (getattr(FederatedCredential, one.name).__set__ for one in fields(FederatedCredential))
(
    _set_name,
    _set_issuer,
    _set_subject,
    _set_audiences,
    _set_description,
    _set_id,
    _set_created,
    _set_expression,
) = _SLOTS
_new = object.__new__
_FLAGS = (0, 1)


def _to_credential(
    created: Any,
    name: Any,
    issuer: Any,
    subject: Any,
    audience: Any,
    description: Any,
    id_: Any,
    *,
    is_flexible: Any,
) -> FederatedCredential:
    # The same rules as `_Part.check`, in a fifth of its time. If they fail, the caller finds the column.
    if not (
        type(name) is type(subject) is type(description) is type(id_) is str
        and MIN_TIME <= created < MAX_TIME
        and is_flexible in _FLAGS
    ):
        raise ValueError("a federated credential holds a corrupt value")
    built = _new(FederatedCredential)
    _set_created(built, created)
    _set_name(built, name)
    # Many identities trust the same issuer and audience: each text is stored once. A corrupt one is not a
    # str.
    _set_issuer(built, sys.intern(issuer))
    _set_subject(built, "" if is_flexible else subject)
    _set_expression(built, subject if is_flexible else "")
    _set_audiences(built, _audiences(audience))
    _set_description(built, description)
    _set_id(built, id_)
    return built


@lru_cache(1024)
def _audiences(audience: object) -> tuple[str, ...]:
    if type(audience) is not str:
        raise ValueError("the audience of a federated credential is corrupt")
    return (audience,)


def _to_password(row: _Row) -> PasswordCredential:
    return PasswordCredential(
        key_id=row.text,
        display_name=row.text_2,
        hint=row.text_3,
        digest=bytes(row.blob),
        begins=row.begins,
        expires=row.expires,
    )


def _to_key(row: _Row) -> KeyCredential:
    return KeyCredential(
        key_id=row.text,
        display_name=row.text_2,
        certificate=bytes(row.blob),
        thumbprint=row.text_3,
        begins=row.begins,
        expires=row.expires,
    )
