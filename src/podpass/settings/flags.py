"""Flags as Go's `flag` package takes them: a Deployment written for the reference keeps its arguments.

One dash or two, `=` or the next argument; a switch takes a value only after `=`. Reading stops at `--` or
at the first argument that is no flag. Go's programs ignore what is left then, flags that follow included;
here it is wrong, since nothing of ours takes such an argument.
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
    rest, flag = list(argv), ""
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
    if rest[:1] == ["--"]:
        del rest[0]
    if rest:
        problems.append(_left(rest, flag if known.get(flag) else ""))
    return found, problems


def _left(rest: Sequence[str], switch: str) -> str:
    """Say what is wrong with an argument that is no flag; `switch` is the one before it, if it is one."""
    said = f"{rest[0]!r}: is no flag, and nothing after it would be read"
    if switch and rest[0] in _TRUE | _FALSE:
        return f"{said}; write {switch}={rest[0]}"
    return f"{said}; take it out, or write a flag's value as --flag=value"
