"""Pages of identities: conditions in, a statement that an index answers out. Pure.

A page goes on where the one before ended, by the order of an index, so that the last costs what the first
does. `tests/directory/test_plans.py` asks the database how it would run each.
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

# The sign after every other, so that everything that begins with a text lies before it.
_LAST = "\U0010ffff"
_ALONE = frozenset(("client_id", "object_id", "application_id", "unique_name", "identifier_uri"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What an identity has to be to stand in a list; text is compared without case.

    Shapes:  `value` is a tuple with `in`, otherwise text. A `unique_name` is compared as it stands.
    """

    field: Field
    op: Op
    value: str | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which identities of a tenant are meant.

    Shapes:  `principals` wants only those that have a service principal; `group` is the ARM id above them.
    """

    tenant_id: str
    kind: IdentityKind | None = None
    principals: bool = False
    where: Sequence[Condition] = ()
    group: str | None = None

    @property
    def by_name(self) -> bool:
        """Tell whether pages are in the order of names: what is asked is a range of them."""
        fields = {one.field for one in self.where if one.op != "ne"}
        return "name" in fields and not fields & _ALONE and self.group is None


def page(wanted: Wanted, after: Sequence[str] | None, limit: int) -> Select[Any]:
    """Select the identities after one, as many as the limit.

    Shapes:  `after` are the values of the order's columns: `resource_key` under a group, name key and
             `client_id` by name, otherwise `client_id`.
    """
    columns = order(wanted)
    query = select(identities).where(*_filters(wanted))
    if after is not None:
        query = query.where(
            tuple_(*columns) > tuple_(*after) if after[1:] else columns[0] > after[0]
        )
    return query.order_by(*columns).limit(limit)


def order(wanted: Wanted) -> tuple[ColumnElement[str], ...]:
    """Name the columns that give a list its order."""
    if wanted.group is not None:
        return (identities.c.resource_key,)
    if wanted.by_name:
        return (identities.c.name_key, identities.c.client_id)
    return (identities.c.client_id,)


def count(wanted: Wanted) -> Select[Any]:
    """Select how many there are."""
    return select(func.count()).select_from(identities).where(*_filters(wanted))


def _filters(wanted: Wanted) -> list[ColumnElement[bool]]:
    filters = [identities.c.tenant_id == wanted.tenant_id]
    if wanted.group is not None:
        # Only managed identities lie in a group, and each is its principal: no more has to be asked,
        # and the database is not led to another index, in which the page is not in order.
        filters.append(below(identities.c.resource_key, wanted.group))
    elif wanted.kind is not None:
        filters.append(identities.c.kind == wanted.kind.value)
    if wanted.principals and wanted.group is None:
        filters.append(identities.c.has_principal.is_(true()))
    return filters + [_filter(wanted.tenant_id, one) for one in wanted.where]


def below(column: Any, scope: str) -> ColumnElement[bool]:
    """Tell that a lower-case ARM id lies below a scope."""
    begin = scope.lower().rstrip("/")
    # '0' is the sign after '/'.
    return and_(column > begin + "/", column < begin + "0")


def lying_in(
    query: Select[Any], key: Any, subscription_id: str, group: str | None, after: str | None
) -> Select[Any]:
    """Keep the resources of a subscription, or of one of its groups, in the order of their lower-case ids."""
    scope = (
        resource_ids.group_id(subscription_id, group)
        if group
        else f"/subscriptions/{subscription_id}"
    )
    query = query.where(below(key, scope)).order_by(key)
    return query if after is None else query.where(key > after.lower())


def _filter(tenant_id: str, condition: Condition) -> ColumnElement[bool]:
    if condition.field == "identifier_uri":
        return _holds_uri(tenant_id, condition)
    column = identities.c["name_key" if condition.field == "name" else condition.field]
    exact = condition.field == "unique_name"
    values = _values(condition.value, exact=exact)
    return _compared(column, condition.op, values)


def _holds_uri(tenant_id: str, condition: Condition) -> ColumnElement[bool]:
    op: Op = "eq" if condition.op == "ne" else condition.op
    given = (condition.value,) if isinstance(condition.value, str) else condition.value
    # The beginning of a URI may end with the slash that does not count at the end of a whole one.
    values = [value.lower() if op == "startswith" else uri_key(value) for value in given]
    holders = select(identifier_uris.c.client_id).where(
        identifier_uris.c.tenant_id == tenant_id,
        _compared(identifier_uris.c.uri_key, op, values),
    )
    held = identities.c.client_id.in_(holders)
    return ~held if condition.op == "ne" else held


def _compared(column: Any, op: Op, values: Sequence[str]) -> ColumnElement[bool]:
    if op == "in":
        return column.in_(values)  # type: ignore[no-any-return]
    [value] = values
    if op == "startswith":
        return and_(column >= value, column < value + _LAST)
    if op == "ne":
        # What has none of it differs as well.
        return column.is_distinct_from(value)  # type: ignore[no-any-return]
    return column == value  # type: ignore[no-any-return]


def _values(value: str | tuple[str, ...], *, exact: bool) -> list[str]:
    given = (value,) if isinstance(value, str) else value
    return [one if exact else one.lower() for one in given]
