"""Empty shared libraries, for a library that is linked to others but calls none of their functions.

The dynamic loader needs every library that a file is linked to. Intel's builds are linked to Intel's compiler
runtime, which has tens of megabytes and a licence that some users cannot accept, but use none of its symbols.
If they used a symbol, loading would fail as it does without the stubs. For 64-bit x86 Linux only, like those
builds.

Source: System V ABI, AMD64 supplement: object files and dynamic linking.
"""

import ctypes
import os
import struct
from collections.abc import Sequence

_HEADER, _SEGMENT = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQQQ")
_ENTRY, _SYMBOL_BYTES = struct.Struct("<QQ"), 24
_LOAD, _DYNAMIC, _STACK = 1, 2, 0x6474E551
_READ_WRITE = 6  # the loader writes to the dynamic section; nothing is executed
_NAMES, _SYMBOLS, _NAMES_BYTES, _SYMBOL_SIZE, _OWN_NAME = 5, 6, 10, 11, 14
_PAGE = 4096


def load_stubs(names: Sequence[str]) -> None:
    """Load empty libraries with these names, so that a library linked to them can be loaded.

    Raises OSError.
    """
    for name in names:
        # In memory, because a container may have no writable folder. The descriptor stays open: the loader
        # identifies a file by its path, and would confuse a later file with the same descriptor number.
        file = os.memfd_create(name, os.MFD_CLOEXEC)
        os.write(file, _build_elf(name))
        ctypes.CDLL(f"/proc/self/fd/{file}")


def _build_elf(name: str) -> bytes:
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
        # Without this segment the loader makes the stack of every thread executable.
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
