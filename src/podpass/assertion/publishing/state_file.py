"""The state of an issuer as JSON; pure."""

import math
from dataclasses import asdict, fields
from typing import Any, TypeVar

import orjson

from podpass.assertion.publishing import public_key
from podpass.assertion.publishing.model import ClockReading, IssuerError, IssuerKey, IssuerState
from podpass.crypto import jose

_VERSION = 1
_TIMES = ("published", "loaded", "signs", "confirmed", "replaced", "withdrawn")
Row = TypeVar("Row")


def encode(state: IssuerState) -> bytes:
    """Return the state as JSON."""
    return orjson.dumps(
        {"version": _VERSION, **asdict(state)},
        option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
    )


def decode(data: bytes) -> IssuerState:
    """Parse and check a state. Raises IssuerError."""
    try:
        found = jose.loads_object(data)
        if found.pop("version", None) != _VERSION:
            raise IssuerError("the version of the state is not supported")
        state = IssuerState(
            keys=tuple(_key(entry) for entry in found.pop("keys")),
            clock=_row(ClockReading, found.pop("clock")),
            published=_texts(found.pop("published")),
            former=_texts(found.pop("former")),
        )
    except (KeyError, TypeError, ValueError, jose.MalformedToken, jose.BadKey) as exc:
        raise IssuerError(f"the state is damaged: {type(exc).__name__}") from exc
    _check(state, found)
    return state


def _key(entry: Any) -> IssuerKey:
    key = _row(IssuerKey, entry)
    if jose.public_key_id(public_key.load(key.public_pem)) != key.kid:
        raise ValueError("the key ID is not that of the public key")
    for name in ("created", *_TIMES):
        value = getattr(key, name)
        if value is not None and not (isinstance(value, int | float) and math.isfinite(value)):
            raise ValueError(name)
    if type(key.is_leaked) is not bool or key.created is None:
        raise ValueError("is_leaked")
    return key


def _row(kind: type[Row], entry: Any) -> Row:
    if not isinstance(entry, dict) or entry.keys() != {field.name for field in fields(kind)}:  # type: ignore[arg-type]
        raise ValueError(kind.__name__)
    return kind(**entry)


def _texts(entries: Any) -> tuple[str, ...]:
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise TypeError("not a list of texts")
    return tuple(entries)


def _check(state: IssuerState, rest: dict[str, Any]) -> None:
    kids = [key.kid for key in state.keys]
    if rest or len(set(kids)) != len(kids) or not any(key.signs is not None for key in state.keys):
        raise IssuerError("the state is damaged: its keys do not fit together")
