"""Build the statements of identity lists from conditions, so that each statement uses an index. Pure.

A page starts after the last entry of the previous page, in the order of an index, so that every page has the
same cost. `tests/directory/test_query_plans.py` checks the query plan of each statement.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, and_, func, select, true, tuple_

from podpass.directory import resource_ids
from podpass.directory.model import IdentityKind
from podpass.directory.naming import uri_key
from podpass.directory.store.schema import identifier_uris, identities

Field = Literal[
    "client_id", "object_id", "application_id", "name", "unique_name", "identifier_uri", "kind"
]
Op = Literal["eq", "ne", "startswith", "in"]

# The last character of Unicode. Every text with a given prefix sorts before the prefix with this character.
_LAST = "\U0010ffff"
_SELECTIVE = frozenset(
    ("client_id", "object_id", "application_id", "unique_name", "identifier_uri")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition on the identities of a list. Text is compared without case.

    `value` is a tuple with `in`, otherwise text. A `unique_name` is compared with case.
    """

    field: Field
    op: Op
    value: str | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityQuery:
    """Selects identities of a tenant.

    `principals` selects those with a service principal; `group` is the ARM id of a parent.
    """

    tenant_id: str
    kind: IdentityKind | None = None
    principals: bool = False
    where: Sequence[Condition] = ()
    group: str | None = None

    @property
    def by_name(self) -> bool:
        """Return whether pages are ordered by name, because the conditions select a range of names."""
        fields = {one.field for one in self.where if one.op != "ne"}
        return "name" in fields and not fields & _SELECTIVE and self.group is None


def select_page(query: IdentityQuery, after: Sequence[str] | None, limit: int) -> Select[Any]:
    """Return the statement for a page of identities, up to the limit.

    `after` holds the values of the order's columns: `resource_key` with a group, `name_key` and `client_id`
    by name, otherwise `client_id`.
    """
    columns = order_columns(query)
    statement = select(identities).where(*_filters(query))
    if after is not None:
        statement = statement.where(
            tuple_(*columns) > tuple_(*after) if after[1:] else columns[0] > after[0]
        )
    return statement.order_by(*columns).limit(limit)


def order_columns(query: IdentityQuery) -> tuple[ColumnElement[str], ...]:
    """Return the columns that a list is ordered by."""
    if query.group is not None:
        return (identities.c.resource_key,)
    if query.by_name:
        return (identities.c.name_key, identities.c.client_id)
    return (identities.c.client_id,)


def select_count(query: IdentityQuery) -> Select[Any]:
    """Return the statement that counts the identities of a query."""
    return select(func.count()).select_from(identities).where(*_filters(query))


def _filters(query: IdentityQuery) -> list[ColumnElement[bool]]:
    filters = [identities.c.tenant_id == query.tenant_id]
    if query.group is not None:
        # Only managed identities are in a group, and each has a principal, so no other condition is needed.
        # Another condition could make the database use an index with another order.
        filters.append(is_below(identities.c.resource_key, query.group))
    elif query.kind is not None:
        filters.append(identities.c.kind == query.kind.value)
    if query.principals and query.group is None:
        filters.append(identities.c.has_principal.is_(true()))
    return filters + [_filter(query.tenant_id, one) for one in query.where]


def is_below(column: Any, scope: str) -> ColumnElement[bool]:
    """Return the condition that a lower-case ARM id is below a scope."""
    begin = scope.lower().rstrip("/")
    # '0' is the character after '/'.
    return and_(column > begin + "/", column < begin + "0")


def in_scope(
    query: Select[Any], key: Any, subscription_id: str, group: str | None, after: str | None
) -> Select[Any]:
    """Restrict a query to a subscription or a resource group, ordered by lower-case resource id."""
    scope = (
        resource_ids.group_id(subscription_id, group)
        if group
        else f"/subscriptions/{subscription_id}"
    )
    query = query.where(is_below(key, scope)).order_by(key)
    return query if after is None else query.where(key > after.lower())


def _filter(tenant_id: str, condition: Condition) -> ColumnElement[bool]:
    if condition.field == "identifier_uri":
        op: Op = "eq" if condition.op == "ne" else condition.op
        given = (condition.value,) if isinstance(condition.value, str) else condition.value
        # A trailing slash is ignored in a whole URI, but not in a prefix.
        values = [value.lower() if op == "startswith" else uri_key(value) for value in given]
        holders = select(identifier_uris.c.client_id).where(
            identifier_uris.c.tenant_id == tenant_id,
            _compare(identifier_uris.c.uri_key, op, values),
        )
        has_uri = identities.c.client_id.in_(holders)
        return ~has_uri if condition.op == "ne" else has_uri
    column = identities.c["name_key" if condition.field == "name" else condition.field]
    exact = condition.field == "unique_name"
    values = _values(condition.value, exact=exact)
    return _compare(column, condition.op, values)


def _compare(column: Any, op: Op, values: Sequence[str]) -> ColumnElement[bool]:
    if op == "in":
        return column.in_(values)  # type: ignore[no-any-return]
    [value] = values
    if op == "startswith":
        return and_(column >= value, column < value + _LAST)
    if op == "ne":
        # NULL differs from every value.
        return column.is_distinct_from(value)  # type: ignore[no-any-return]
    return column == value  # type: ignore[no-any-return]


def _values(value: str | tuple[str, ...], *, exact: bool) -> list[str]:
    given = (value,) if isinstance(value, str) else value
    return [one if exact else one.lower() for one in given]
