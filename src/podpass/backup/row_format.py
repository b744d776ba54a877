"""A row as one line of JSON, the same from every database. Pure."""

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from podpass.backup.model import BackupUnfit

_BYTES = "base64"


def write(values: Iterable[Any]) -> bytes:
    """Write a row's values; bytes are the only ones that JSON does not have."""
    return orjson.dumps([_written(value) for value in values]) + b"\n"


def read(line: bytes, columns: Sequence[str]) -> dict[str, Any]:
    """Read a row.

    Errors:  BackupUnfit.
    """
    try:
        return dict(zip(columns, map(_read, orjson.loads(line)), strict=True))
    except (ValueError, TypeError, KeyError, binascii.Error) as exc:
        raise BackupUnfit("a row of the backup cannot be read") from exc


def _written(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return {_BYTES: base64.b64encode(value).decode()}
    return value


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value[_BYTES], validate=True)
    if isinstance(value, list):
        raise TypeError
    return value
