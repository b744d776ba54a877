"""`podpass explain`."""

import sys
from collections.abc import Iterable
from typing import Any

import click
from click.shell_completion import CompletionItem

from podpass.cli import options
from podpass.cli.output import align, emit, plain, say
from podpass.errors import Error, UsageError
from podpass.local.datadir import DataDir

_MAX_CHARS = 64 * 1024
# What helps to compare a request with the directory.
_TOLD = [
    "cause",
    "reason",
    "tenant_id",
    "client_id",
    "resource",
    "iss",
    "sub",
    "aud",
    "kid",
    "credential",
]
_WANTED = "give a number (700213), a name (AADSTS700213), or the whole text of an error"


def _complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from podpass.exchange.errors import explain

    prefix = "" if incomplete[:1].isdecimal() else "AADSTS"
    names = ((f"{prefix}{number}", explain.find(number)) for number in explain.known())
    return [
        CompletionItem(name, help=found.meaning if found else "")
        for name, found in names
        if name.startswith(incomplete.upper())
    ]


@click.command
@options.data_dir
@options.output()
@click.argument("error", nargs=-1, metavar="[CODE|TEXT|-]...", shell_complete=_complete)
@click.pass_context
def command(ctx: click.Context, data_dir: DataDir, output: str, error: tuple[str, ...]) -> None:
    """Say what an AADSTS error means, how it comes about, and what to do.

    Give codes, or paste the whole text of an error; without either it is read from stdin. If the text has a
    correlation id that the instance's log knows, what the request said is shown too. Leaves with 1 when a
    code is not known.
    """
    from podpass.exchange.errors import explain

    text = _read(error)
    found = explain.read(text)
    if not found.numbers:
        raise Error("there is no AADSTS code in it", hint=_WANTED)
    known = [each for number in found.numbers if (each := explain.find(number)) is not None]
    missing = [number for number in found.numbers if explain.find(number) is None]
    unknown = [{"code": number, "nearest": list(explain.nearest(number))} for number in missing]
    request = _request(data_dir, found.facts.get("correlation_id", ""))
    if output == "table":
        _print([*known], unknown, found.facts, request)
    else:
        codes = [_document(each) for each in known]
        emit({"codes": codes, "unknown": unknown, **found.facts, "request": request}, output)
    ctx.exit(1 if unknown else 0)


def _read(words: Iterable[str]) -> str:
    given = [word for word in words if word != "-"]
    if given:
        # Numbers alone stay numbers, a text that the shell took apart becomes whole again.
        return " ".join(given)[:_MAX_CHARS]
    if sys.stdin.isatty():
        raise UsageError("explain what?", hint=_WANTED)
    return sys.stdin.read(_MAX_CHARS)


def _request(data_dir: DataDir, correlation_id: str) -> dict[str, Any] | None:
    """Find what the instance's log says of a request; the log holds no token and no secret."""
    from podpass.local.token_trace import read_hops

    if not correlation_id or not data_dir.log_file.exists():
        return None
    found = None
    for hop in read_hops(data_dir.log_file):
        if hop.stage == "exchange" and hop.facts.get("correlation_id") == correlation_id:
            told = {name: hop.facts[name] for name in _TOLD if hop.facts.get(name)}
            found = {"passed": list(hop.checked), **told}
    return found


def _document(each: Any) -> dict[str, Any]:
    return {
        "code": each.number,
        "name": each.name,
        "error": each.error,
        "status": each.status,
        "step": each.step,
        "says": each.says,
        "meaning": each.meaning,
        "cure": each.cure,
    }


def _print(
    known: list[Any], unknown: list[dict[str, Any]], facts: Any, request: dict[str, Any] | None
) -> None:
    for each in known:
        says = each.says or "only Entra answers this; podpass never does"
        rows = [
            [each.name, f"{each.error}, HTTP {each.status}"],
            ["says", says],
            ["comes about", each.meaning],
            ["what to do", f"{each.cure}."],
        ]
        click.echo(align(rows))
    for one in unknown:
        near = ", ".join(f"AADSTS{number}" for number in one["nearest"])
        click.echo(
            f"AADSTS{one['code']} is not known" + (f"; most like it: {near}" if near else "")
        )
        say(f"look it up at https://login.microsoftonline.com/error?code={one['code']}")
    for name, value in facts.items():
        click.echo(f"{name.replace('_', ' ')}: {plain(value)}")
    if request is not None:
        rows = [[name, _shown(value)] for name, value in request.items()]
        click.echo("\nThe request, as this instance's log has it:\n" + align(rows), nl=False)
    elif "correlation_id" in facts:
        click.echo("The token service's log has the cause under the correlation id.")


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
