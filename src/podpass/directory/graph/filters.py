"""Plan and evaluate filters: split one into index lookups and a scan, and match objects. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from podpass.directory.graph import filter_parser
from podpass.directory.graph.errors import UnsupportedQuery
from podpass.directory.graph.filter_parser import (
    And,
    AnyOf,
    Comparison,
    Expression,
    In,
    Not,
    Or,
    Value,
)
from podpass.directory.store.identity_queries import Condition, Field, Op
from podpass.guids import is_guid

# A token exchange compares these byte by byte, and so does a filter.
_EXACT = frozenset({"issuer", "subject"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterSchema:
    """The properties by which a collection can be filtered.

    `indexed` maps properties to fields of the store and their operators; `scanned` are properties that are
    compared object by object; `store_values` maps values of a property (lower case) to values of the store.
    """

    name: str
    indexed: Mapping[str, tuple[Field, tuple[Op, ...]]] = field(default_factory=dict)
    store_values: Mapping[str, str] = field(default_factory=dict)
    collections: frozenset[str] = frozenset()
    scanned: frozenset[str] = frozenset()

    def unsupported(self, path: Sequence[str]) -> UnsupportedQuery:
        return UnsupportedQuery(
            f"A {self.name} cannot be filtered by '{'/'.join(path)}' with this operator."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPlan:
    """How to run a filter: `where` uses an index, `rest` is evaluated for each object."""

    where: tuple[Condition, ...] = ()
    rest: Expression | None = None


def plan_query(expr: Expression | None, schema: FilterSchema) -> QueryPlan:
    """Split a validated filter into index conditions and a scan."""
    if expr is None:
        return QueryPlan()
    where: list[Condition] = []
    rest: list[Expression] = []
    for part in expr.parts if isinstance(expr, And) else (expr,):
        found = _condition(_merge_equalities(part), schema)
        if found is None:
            rest.append(part)
        else:
            where.append(found)
    left = rest[0] if len(rest) == 1 else And(tuple(rest)) if rest else None
    return QueryPlan(where=tuple(where), rest=left)


def normalize_names(expr: Expression, schema: FilterSchema) -> Expression:
    """Return a filter whose property names have the spelling of the collection."""
    every = (*schema.indexed, *schema.scanned, *schema.collections)
    known = {name.lower(): tuple(name.split("/")) for name in every}

    def normalize(part: Expression) -> Expression:
        match part:
            case And(parts) | Or(parts):
                return replace(part, parts=tuple(normalize(each) for each in parts))
            case Not(inner):
                return Not(normalize(inner))
            case Comparison(path) | In(path) | AnyOf(path):
                return replace(part, path=known.get("/".join(path).lower(), path))

    return normalize(expr)


def validate(expr: Expression, schema: FilterSchema) -> None:
    """Reject a filter that the collection does not support. Raises UnsupportedQuery."""
    match expr:
        case And(parts) | Or(parts):
            for part in parts:
                validate(part, schema)
        case Not(part):
            validate(part, schema)
        case AnyOf(path, inner):
            if "/".join(path) not in schema.collections:
                raise schema.unsupported(path)
            if inner is not None and any(_paths(inner)):
                raise schema.unsupported((*path, *next(filter(None, _paths(inner)))))
        case Comparison(path) | In(path):
            name = "/".join(path)
            if name in schema.collections or (
                name not in schema.indexed and name not in schema.scanned
            ):
                raise schema.unsupported(path)


def is_advanced(expr: Expression | None) -> bool:
    """Return True if Graph requires `ConsistencyLevel: eventual` and `$count=true` for a filter."""
    match expr:
        case None:
            return False
        case Not():
            return True
        case And(parts) | Or(parts):
            return any(is_advanced(part) for part in parts)
        case AnyOf(_, inner):
            return is_advanced(inner)
        case Comparison(_, op):
            return op in ("ne", "endswith", "contains")
        case In():
            return False


def _merge_equalities(expr: Expression) -> Expression:
    """Convert `a eq 1 or a eq 2` to `a in (1, 2)`, for which the store has an index."""
    if not isinstance(expr, Or):
        return expr
    values = []
    for part in expr.parts:
        if not (isinstance(part, Comparison) and part.op == "eq"):
            return expr
        values.append((part.path, part.value))
    if len({path for path, _ in values}) != 1:
        return expr
    return In(values[0][0], tuple(value for _, value in values))


def _condition(expr: Expression, schema: FilterSchema) -> Condition | None:
    match expr:
        case Comparison(path, op, str(value)):
            return _index_condition(schema, "/".join(path), op, value)
        case In(path, values) if all(isinstance(value, str) for value in values):
            texts = tuple(value for value in values if isinstance(value, str))
            return _index_condition(schema, "/".join(path), "in", texts)
        case AnyOf(path, Comparison((), op, str(value))):
            return _index_condition(schema, "/".join(path), op, value)
        case _:
            return None


def _index_condition(
    schema: FilterSchema, name: str, op: str, value: str | tuple[str, ...]
) -> Condition | None:
    if name == "servicePrincipalNames":
        # The names of a service principal are its application's appId and identifier URIs.
        is_id = is_guid(value)
        name = "appId" if is_id else "identifierUris"
    if name not in schema.indexed:
        return None
    column, ops = schema.indexed[name]
    if column == "kind":
        value = schema.store_values.get(value.lower(), "none") if isinstance(value, str) else ()
    return next(
        (Condition(field=column, op=each, value=value) for each in ops if each == op and value),
        None,
    )


def _paths(expr: Expression) -> Iterable[tuple[str, ...]]:
    match expr:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _paths(part)
        case Not(part):
            yield from _paths(part)
        case Comparison(path) | In(path) | AnyOf(path):
            yield path


def matches(expr: Expression | None, item: Any) -> bool:
    """Return True if an object, as Graph shows it, matches a filter; text is compared case-insensitively."""
    match expr:
        case None:
            return True
        case And(parts):
            return all(matches(part, item) for part in parts)
        case Or(parts):
            return any(matches(part, item) for part in parts)
        case Not(part):
            return not matches(part, item)
        case In(path, values):
            return any(_compare(_value_at(item, path), "eq", value, path) for value in values)
        case AnyOf(path, inner):
            there = _value_at(item, path) or ()
            return any(inner is None or matches(inner, one) for one in there)
        case Comparison(path, op, value):
            return _compare(_value_at(item, path), op, value, path)


def _value_at(item: Any, path: Sequence[str]) -> Any:
    for step in path:
        item = item.get(step) if isinstance(item, Mapping) else None
    return item


def _compare(found: Any, op: str, value: Value, path: Sequence[str]) -> bool:
    if isinstance(found, str) and isinstance(value, str):
        if not path or path[-1] not in _EXACT:
            found, value = found.casefold(), value.casefold()
        return _TEXT[op](found, value)
    if op == "eq":
        return type(found) is type(value) and bool(found == value)
    if op == "ne":
        return type(found) is not type(value) or bool(found != value)
    return False


_TEXT: Mapping[str, Callable[[str, str], bool]] = {
    "eq": lambda found, value: found == value,
    "ne": lambda found, value: found != value,
    "gt": lambda found, value: found > value,
    "ge": lambda found, value: found >= value,
    "lt": lambda found, value: found < value,
    "le": lambda found, value: found <= value,
    filter_parser.STARTS_WITH: str.startswith,
    "endswith": str.endswith,
    "contains": str.__contains__,
}
