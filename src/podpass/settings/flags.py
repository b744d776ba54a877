"""Parse flags as Go's `flag` package, so that a Deployment of azure-workload-identity works unchanged.

A flag has one or two dashes, and its value follows after `=` or as the next argument; a switch takes a value
only after `=`. Parsing stops at `--` or at the first argument that is not a flag. Go programs ignore the
remaining arguments. Here they are an error, because no command takes positional arguments.
"""

from collections.abc import Mapping, Sequence

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_END = "--"


def parse_switch(flag: str, text: str) -> bool:
    """Parse the value of a switch. Raises ValueError, with the flag."""
    if text not in _TRUE | _FALSE:
        raise ValueError(f"{flag} {text!r}: must be true or false")
    return text in _TRUE


def parse_flags(argv: Sequence[str], known: Mapping[str, bool]) -> tuple[dict[str, str], list[str]]:
    """Parse arguments into flag values and a list of problems.

    `known` maps each flag, as `--name`, to whether it is a switch; if a flag is repeated, the last value
    applies.
    """
    found: dict[str, str] = {}
    problems: list[str] = []
    rest, switch = list(argv), ""
    while rest and rest[0].startswith("-") and rest[0] not in ("-", _END):
        name, given, value = rest.pop(0).partition("=")
        flag, switch = "--" + name.removeprefix("-").removeprefix("-"), ""
        if flag not in known:
            problems.append(f"{flag}: unknown flag; known flags are {', '.join(sorted(known))}")
        elif given:
            found[flag] = value
        elif known[flag]:
            found[flag], switch = "true", flag
        elif rest:
            found[flag] = rest.pop(0)
        else:
            problems.append(f"{flag}: needs a value")
    if rest and rest != [_END]:
        problems.append(_describe_rest(rest, switch))
    return found, problems


def _describe_rest(rest: Sequence[str], switch: str) -> str:
    """Return the problem of the unparsed arguments; `switch` is the switch directly before them, if any."""
    if rest[0] == _END:
        return f"{_END}: arguments after it are not read; remove {rest[1]!r}"
    problem = f"{rest[0]!r}: is not a flag, and arguments after it are not read"
    if switch and rest[0] in _TRUE | _FALSE:
        return f"{problem}; write {switch}={rest[0]}"
    return f"{problem}; remove it, or write a flag's value as --flag=value"
