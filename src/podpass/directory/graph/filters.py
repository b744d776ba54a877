"""What a filter means: how the directory finds it by its indexes, and what is left to look at. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from podpass.directory.graph import query
from podpass.directory.graph.query import AnyOf, Both, Compare, Either, Expr, In, Not, Value
from podpass.directory.graph.refusals import Unsupported
from podpass.directory.store.identity_queries import Condition, Field, Op
from podpass.guids import is_guid

# Trusted byte for byte in an exchange, so found so too.
_EXACT = frozenset({"issuer", "subject"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Noun:
    """What a collection can be filtered by.

    Shapes:  `indexed` maps properties to the store's fields, with the operators it has for them;
             `looked_at` are properties compared one object at a time; `spelt` are the store's words
             for a property's values (lower case).
    """

    name: str
    indexed: Mapping[str, tuple[Field, tuple[Op, ...]]] = field(default_factory=dict)
    spelt: Mapping[str, str] = field(default_factory=dict)
    collections: frozenset[str] = frozenset()
    looked_at: frozenset[str] = frozenset()

    def refuse(self, path: Sequence[str]) -> Unsupported:
        return Unsupported(f"A {self.name} cannot be filtered by '{'/'.join(path)}' in this way.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to find what a filter means: `where` by index, `rest` by looking at each."""

    where: tuple[Condition, ...] = ()
    rest: Expr | None = None


def plan(expr: Expr | None, noun: Noun) -> Plan:
    """Split a checked filter into what the store finds and what is looked at."""
    if expr is None:
        return Plan()
    where: list[Condition] = []
    rest: list[Expr] = []
    for part in expr.parts if isinstance(expr, Both) else (expr,):
        found = _condition(_as_list(part), noun)
        if found is None:
            rest.append(part)
        else:
            where.append(found)
    left = rest[0] if len(rest) == 1 else Both(tuple(rest)) if rest else None
    return Plan(where=tuple(where), rest=left)


def spelled(expr: Expr, noun: Noun) -> Expr:
    """Write the properties a filter names as the collection has them; callers may write them in any case."""
    every = (*noun.indexed, *noun.looked_at, *noun.collections)
    known = {name.lower(): tuple(name.split("/")) for name in every}

    def of(part: Expr) -> Expr:
        match part:
            case Both(parts) | Either(parts):
                return replace(part, parts=tuple(of(each) for each in parts))
            case Not(inner):
                return Not(of(inner))
            case Compare(path) | In(path) | AnyOf(path):
                return replace(part, path=known.get("/".join(path).lower(), path))

    return of(expr)


def check(expr: Expr, noun: Noun) -> None:
    """Refuse a filter by what the collection cannot be filtered by.

    Errors:  Unsupported.
    """
    match expr:
        case Both(parts) | Either(parts):
            for part in parts:
                check(part, noun)
        case Not(part):
            check(part, noun)
        case AnyOf(path, inner):
            if "/".join(path) not in noun.collections:
                raise noun.refuse(path)
            if inner is not None and any(_paths(inner)):
                raise noun.refuse((*path, *next(filter(None, _paths(inner)))))
        case Compare(path) | In(path):
            name = "/".join(path)
            if name in noun.collections or (
                name not in noun.indexed and name not in noun.looked_at
            ):
                raise noun.refuse(path)


def is_advanced(expr: Expr | None) -> bool:
    """Tell whether Graph answers a filter only with `ConsistencyLevel: eventual` and `$count=true`."""
    match expr:
        case None:
            return False
        case Not():
            return True
        case Both(parts) | Either(parts):
            return any(is_advanced(part) for part in parts)
        case AnyOf(_, inner):
            return is_advanced(inner)
        case Compare(_, op):
            return op in ("ne", "endswith", "contains")
        case In():
            return False


def _as_list(expr: Expr) -> Expr:
    """Read `a eq 1 or a eq 2` as `a in (1, 2)`, which the store has an index for."""
    if not isinstance(expr, Either):
        return expr
    values = []
    for part in expr.parts:
        if not (isinstance(part, Compare) and part.op == "eq"):
            return expr
        values.append((part.path, part.value))
    if len({path for path, _ in values}) != 1:
        return expr
    return In(values[0][0], tuple(value for _, value in values))


def _condition(expr: Expr, noun: Noun) -> Condition | None:
    match expr:
        case Compare(path, op, str(value)):
            return _indexed(noun, "/".join(path), op, value)
        case In(path, values) if all(isinstance(value, str) for value in values):
            texts = tuple(value for value in values if isinstance(value, str))
            return _indexed(noun, "/".join(path), "in", texts)
        case AnyOf(path, Compare((), op, str(value))):
            return _indexed(noun, "/".join(path), op, value)
        case _:
            return None


def _indexed(noun: Noun, name: str, op: str, value: str | tuple[str, ...]) -> Condition | None:
    if name == "servicePrincipalNames":
        # A principal is named by its application's id, or by one of its URIs.
        is_id = is_guid(value)
        name = "appId" if is_id else "identifierUris"
    if name not in noun.indexed:
        return None
    column, ops = noun.indexed[name]
    if column == "kind":
        value = noun.spelt.get(value.lower(), "none") if isinstance(value, str) else ()
    return next(
        (Condition(field=column, op=each, value=value) for each in ops if each == op and value),
        None,
    )


def _paths(expr: Expr) -> Iterable[tuple[str, ...]]:
    match expr:
        case Both(parts) | Either(parts):
            for part in parts:
                yield from _paths(part)
        case Not(part):
            yield from _paths(part)
        case Compare(path) | In(path) | AnyOf(path):
            yield path


def matches(expr: Expr | None, item: Any) -> bool:
    """Tell whether an object, as Graph shows it, fits a filter; texts are compared without case."""
    match expr:
        case None:
            return True
        case Both(parts):
            return all(matches(part, item) for part in parts)
        case Either(parts):
            return any(matches(part, item) for part in parts)
        case Not(part):
            return not matches(part, item)
        case In(path, values):
            return any(_compare(_at(item, path), "eq", value, path) for value in values)
        case AnyOf(path, inner):
            there = _at(item, path) or ()
            return any(inner is None or matches(inner, one) for one in there)
        case Compare(path, op, value):
            return _compare(_at(item, path), op, value, path)


def _at(item: Any, path: Sequence[str]) -> Any:
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
    query.PREFIX: str.startswith,
    "endswith": str.endswith,
    "contains": str.__contains__,
}
