"""Serialize a row as one line of JSON, in the same format for both databases. Pure."""

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from podpass.backup.model import InvalidBackupFile

_BYTES = "base64"


def write(values: Iterable[Any]) -> bytes:
    """Serialize the values of a row. Bytes, which JSON lacks, become an object."""
    return orjson.dumps([_to_json(value) for value in values]) + b"\n"


def read(line: bytes, columns: Sequence[str]) -> dict[str, Any]:
    """Parse a row. Raises InvalidBackupFile."""
    try:
        return dict(zip(columns, map(_from_json, orjson.loads(line)), strict=True))
    except (ValueError, TypeError, KeyError, binascii.Error) as exc:
        raise InvalidBackupFile("a row of the backup cannot be read") from exc


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return {_BYTES: base64.b64encode(value).decode()}
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value[_BYTES], validate=True)
    if isinstance(value, list):
        raise TypeError
    return value
