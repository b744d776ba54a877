"""Go: go.mod, vendor/modules.txt, and the build information in binaries."""

from collections.abc import Iterator

from podpass.migration.scan.decision import GO, is_known
from podpass.migration.scan.limits import MIB
from podpass.migration.scan.model import ContentStream, Mention

# The linker writes the list of modules between these two texts, in binaries of every Go version and format.
# Source: https://go.dev/src/cmd/go/internal/modload/build.go
_START = bytes.fromhex("3077af0c9274080241e1c107e6d618e6")
_END = bytes.fromhex("f932433186182072008242104116d8f2")
ELF = b"\x7fELF"
_MAX_MODULES_BYTES = 4 * MIB
_CHUNK = MIB


def _mention(name: str, version: str) -> Iterator[Mention]:
    if is_known(GO, name):
        yield Mention(GO, name, version.removeprefix("v")[:64])


def read_go_mod(data: bytes) -> Iterator[Mention]:
    """Read go.mod: the `require` lines."""
    in_block = False
    for line in data.decode("utf-8", "replace").splitlines():
        words = line.partition("//")[0].split()
        if words == ["require", "("]:
            in_block = True
        elif words == [")"]:
            in_block = False
        elif len(words) == 3 and words[0] == "require":
            yield from _mention(words[1].strip('"'), words[2])
        elif in_block and len(words) == 2:
            yield from _mention(words[0].strip('"'), words[1])


def read_vendor_modules(data: bytes) -> Iterator[Mention]:
    """Read vendor/modules.txt: lines `# module version`, with a replacement after `=>`."""
    for line in data.decode("utf-8", "replace").splitlines():
        words = line.split()
        if len(words) >= 3 and words[0] == "#":
            replaced = words.index("=>") if "=>" in words else 0
            version = words[replaced + 2] if replaced and len(words) > replaced + 2 else words[2]
            yield from _mention(words[1], version)


def read_binary(start: bytes, stream: ContentStream) -> Iterator[Mention]:
    """Read the modules of a binary; `start` is the part that was already read."""
    text = _find_modules(start, stream).decode("utf-8", "replace")
    module, version = "", ""
    for line in [*text.splitlines(), "end"]:
        kind, *rest = line.split("\t")
        if kind == "=>" and len(rest) > 1:
            version = rest[1]  # a module that replaces the one of the line before
            continue
        yield from _mention(module, version)
        module, version = (
            (rest[0], rest[1]) if kind in ("dep", "mod") and len(rest) > 1 else ("", "")
        )


def _find_modules(buffered: bytes, stream: ContentStream) -> bytes:
    """Return the text between the two markers; empty if the binary has none."""
    data = buffered
    while (at := data.find(_START)) < 0:
        more = stream.read(_CHUNK)
        if not more:
            return b""
        data = data[-len(_START) :] + more
    parts = bytearray(data[at + len(_START) :])
    searched = 0
    while (end := parts.find(_END, max(0, searched - len(_END)))) < 0:
        searched = len(parts)
        more = stream.read(_CHUNK) if len(parts) <= _MAX_MODULES_BYTES else b""
        if not more:
            return b""
        parts += more
    return bytes(parts[:end])
