"""Flags as Go's `flag` package takes them: a Deployment written for the reference keeps its arguments.

One dash or two, `=` or the next argument; a switch takes a value only after `=`. Reading stops at `--` or
at the first argument that is no flag. Go's programs ignore what is left then, flags that follow included;
here it is wrong, since nothing of ours takes such an argument.
"""

from collections.abc import Mapping, Sequence

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_END = "--"


def parse_switch(flag: str, text: str) -> bool:
    """Read a switch's value.

    Errors:  ValueError, naming the flag.
    """
    if text not in _TRUE | _FALSE:
        raise ValueError(f"{flag} {text!r}: want true or false")
    return text in _TRUE


def parse_flags(argv: Sequence[str], known: Mapping[str, bool]) -> tuple[dict[str, str], list[str]]:
    """Split arguments into flags and what is wrong with them.

    Shapes:  `known` says of each flag, as `--name`, whether it is a switch; the last of several wins.
    """
    found: dict[str, str] = {}
    problems: list[str] = []
    rest, bare = list(argv), ""
    while rest and rest[0].startswith("-") and rest[0] not in ("-", _END):
        name, given, value = rest.pop(0).partition("=")
        flag, bare = "--" + name.removeprefix("-").removeprefix("-"), ""
        if flag not in known:
            problems.append(f"{flag}: no such flag; known are {', '.join(sorted(known))}")
        elif given:
            found[flag] = value
        elif known[flag]:
            found[flag], bare = "true", flag
        elif rest:
            found[flag] = rest.pop(0)
        else:
            problems.append(f"{flag}: wants a value")
    if rest and rest != [_END]:
        problems.append(_left(rest, bare))
    return found, problems


def _left(rest: Sequence[str], bare: str) -> str:
    """Say what is wrong with what is left; `bare` is the switch right before it that was given no value."""
    if rest[0] == _END:
        return (
            f"{_END}: nothing after it would be read, and {rest[1]!r} comes after it; take it out"
        )
    said = f"{rest[0]!r}: is no flag, and nothing after it would be read"
    if bare and rest[0] in _TRUE | _FALSE:
        return f"{said}; write {bare}={rest[0]}"
    return f"{said}; take it out, or write a flag's value as --flag=value"
