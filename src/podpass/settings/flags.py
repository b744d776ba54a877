"""Flags as Go's `flag` package takes them: a Deployment written for the reference keeps its arguments.

One dash or two, `=` or the next argument; a switch takes a value only after `=`. Reading stops at `--` or
at the first argument that is no flag.
"""

from collections.abc import Mapping, Sequence

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


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
    rest = list(argv)
    while rest and rest[0].startswith("-") and rest[0] not in ("-", "--"):
        name, given, value = rest.pop(0).partition("=")
        flag = "--" + name.removeprefix("-").removeprefix("-")
        if flag not in known:
            problems.append(f"{flag}: no such flag; known are {', '.join(sorted(known))}")
        elif given:
            found[flag] = value
        elif known[flag]:
            found[flag] = "true"
        elif rest:
            found[flag] = rest.pop(0)
        else:
            problems.append(f"{flag}: wants a value")
    return found, problems
