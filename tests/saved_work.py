"""Saves work that tests repeat and that does not decide their result: keys, hashes, SQL, disk writes."""

import collections
import contextlib
import functools
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import Dialect
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.util import LRUCache

# jsonschema imports it, if it is installed, for a format that no test uses. Its grammar takes 1 s to build.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

_MEMORY = Path("/dev/shm")
_MEMORY_BYTES = 4 << 30


def _is_large(folder: Path) -> bool:
    """Return whether a folder has room for the files of a test run, and may hold programs."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize >= _MEMORY_BYTES and not found.f_flag & os.ST_NOEXEC


# Databases wait for the disk at each commit. pytest makes its temporary folders below this one.
if _is_large(_MEMORY):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))

# OpenSSL checks the numbers of a private key when it parses one, which takes 36 ms. Tests use good keys, and
# many tests parse the same few.
PARSE_EACH_TIME = serialization.load_pem_private_key
_parse = functools.lru_cache(maxsize=256)(PARSE_EACH_TIME)


def _parse_once(data: bytes, password: bytes | None = None, **options: Any) -> Any:
    return _parse(bytes(data), password, **options | {"unsafe_skip_rsa_key_validation": True})


serialization.load_pem_private_key = _parse_once  # type: ignore[assignment]

# Creating a key takes 60 ms. No test needs more different keys at the same time than these. The first process
# creates them for its workers and for later runs.
_MAX_KEYS = 40
_KEYS_FILE = Path(__file__).parents[1] / ".cache" / "test_keys.pem"
_END = b"-----END PRIVATE KEY-----\n"
_generate = rsa.generate_private_key


def _read_keys() -> list[rsa.RSAPrivateKey]:
    """Return the stored keys; none if they are not complete."""
    try:
        parts = _KEYS_FILE.read_bytes().split(_END)[:-1]
    except OSError:
        return []
    return [_parse_once(part + _END) for part in parts] if len(parts) == _MAX_KEYS else []


def _create_keys() -> list[rsa.RSAPrivateKey]:
    """Create the keys, and store them for other processes if the folder can be written."""
    keys = [_generate(65537, 2048) for _ in range(_MAX_KEYS)]
    plain = serialization.NoEncryption()
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain
    with contextlib.suppress(OSError):
        _KEYS_FILE.parent.mkdir(exist_ok=True)
        own = _KEYS_FILE.with_suffix(f".{os.getpid()}")
        own.touch(mode=0o600)
        own.write_bytes(b"".join(key.private_bytes(*form) for key in keys))
        own.replace(_KEYS_FILE)
    return keys


_keys = collections.deque(_read_keys() or _create_keys())
_is_kept = False


@contextlib.contextmanager
def kept_keys() -> Iterator[None]:
    """Return the keys that are created in this context to no later caller: many tests share them."""
    global _is_kept
    _is_kept = True
    try:
        yield
    finally:
        _is_kept = False


def _next_key(public_exponent: int, key_size: int, backend: Any = None) -> rsa.RSAPrivateKey:
    """Return the key that was not used for the longest time; create one only of another kind."""
    if (public_exponent, key_size) != (65537, 2048):
        return _generate(public_exponent, key_size, backend)
    key = _keys.popleft()
    if not _is_kept:
        _keys.append(key)
    return key


rsa.generate_private_key = _next_key

# A hash of a password takes 45 ms, and tests sign in the same few users often.
hashlib.scrypt = functools.lru_cache(maxsize=256)(hashlib.scrypt)  # type: ignore[assignment]


# SQLAlchemy compiles each statement once for each engine, and most tests create an engine. Dialects of one
# class compile a statement to the same text.
_compile_for_engine = ClauseElement._compile_w_cache
_dialects: dict[type[Dialect], Dialect] = {}
_compiled: LRUCache[Any, Any] = LRUCache(3000)


def _compile_once(
    statement: ClauseElement, dialect: Dialect, *, compiled_cache: Any, **options: Any
) -> Any:
    shared = _dialects.setdefault(type(dialect), dialect)
    cache = None if compiled_cache is None else _compiled
    return _compile_for_engine(statement, shared, compiled_cache=cache, **options)


ClauseElement._compile_w_cache = _compile_once  # type: ignore[method-assign, assignment]
