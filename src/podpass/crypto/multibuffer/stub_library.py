"""Shared libraries with nothing in them, for programs that are linked to some which they never call.

The loader wants every library that one names. Intel's builds name parts of Intel's compiler runtime, tens of
megabytes under terms that not everybody can take, and use no symbol of them; were one used, loading
would fail as it does today. For 64-bit x86 Linux, as those builds are.
Source: System V ABI, AMD64 supplement: object files and dynamic linking.
"""

import ctypes
import os
import struct
from collections.abc import Sequence

_HEADER, _SEGMENT = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQQQ")
_ENTRY, _SYMBOL_BYTES = struct.Struct("<QQ"), 24
_LOAD, _DYNAMIC, _STACK = 1, 2, 0x6474E551
_READ_WRITE = 6  # the loader writes into what it reads from; nothing is ever executed
_NAMES, _SYMBOLS, _NAMES_BYTES, _SYMBOL_SIZE, _OWN_NAME = 5, 6, 10, 11, 14
_PAGE = 4096


def load_empty(names: Sequence[str]) -> None:
    """Load libraries of these names without a symbol, so that whoever is linked to them loads.

    Errors:  OSError.
    """
    for name in names:
        # In memory, since containers may have no folder to write to; and never closed, since the loader takes
        # whatever comes under the same number later for this one.
        file = os.memfd_create(name, os.MFD_CLOEXEC)
        os.write(file, _image(name))
        ctypes.CDLL(f"/proc/self/fd/{file}")


def _image(name: str) -> bytes:
    names = b"\0" + name.encode() + b"\0"
    segments_at = _HEADER.size
    dynamic_at = segments_at + 3 * _SEGMENT.size
    entries = 6
    symbols_at = dynamic_at + entries * _ENTRY.size
    names_at = symbols_at + _SYMBOL_BYTES
    size = names_at + len(names)
    identity = b"\x7fELF\x02\x01\x01"
    header = _HEADER.pack(
        identity, 3, 62, 1, 0, segments_at, 0, 0, _HEADER.size, _SEGMENT.size, 3, 0, 0, 0
    )
    segments = (
        (_LOAD, _READ_WRITE, 0, 0, 0, size, size, _PAGE),
        (_DYNAMIC, _READ_WRITE, *[dynamic_at] * 3, *[entries * _ENTRY.size] * 2, 8),
        # Without it the stack of every thread would become executable.
        (_STACK, _READ_WRITE, 0, 0, 0, 0, 0, 16),
    )
    dynamic = (
        (_OWN_NAME, 1),
        (_NAMES, names_at),
        (_NAMES_BYTES, len(names)),
        (_SYMBOLS, symbols_at),
        (_SYMBOL_SIZE, _SYMBOL_BYTES),
        (0, 0),
    )
    return b"".join(
        (
            header,
            *(_SEGMENT.pack(*each) for each in segments),
            *(_ENTRY.pack(*each) for each in dynamic),
            bytes(_SYMBOL_BYTES),
            names,
        )
    )
