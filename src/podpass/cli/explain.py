"""`podpass explain`."""

import sys
from collections.abc import Iterable
from typing import Any

import click
from click.shell_completion import CompletionItem

from podpass.cli import options
from podpass.cli.output import align, escape_unprintable, print_message, print_output
from podpass.errors import Error, UsageError
from podpass.local.datadir import DataDir

_MAX_CHARS = 64 * 1024
# Facts of a logged request that help to compare it with the directory.
_REQUEST_FIELDS = [
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
_USAGE_HINT = "pass a number (700213), a name (AADSTS700213), or the full text of an error"


def _complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from podpass.exchange.errors import explain

    prefix = "" if incomplete[:1].isdecimal() else "AADSTS"
    names = (
        (f"{prefix}{number}", explain.find_explanation(number))
        for number in explain.known_numbers()
    )
    return [
        CompletionItem(name, help=found.cause if found else "")
        for name, found in names
        if name.startswith(incomplete.upper())
    ]


@click.command
@options.data_dir
@options.output()
@click.argument("error", nargs=-1, metavar="[CODE|TEXT|-]...", shell_complete=_complete)
@click.pass_context
def command(ctx: click.Context, data_dir: DataDir, output: str, error: tuple[str, ...]) -> None:
    """Explain an AADSTS error: meaning, cause and resolution.

    Pass codes or the full text of an error; without an argument it reads stdin. If the text contains a
    correlation id that is in the log of the instance, the facts of that request are shown too. Exits with
    status 1 when a code is unknown.
    """
    from podpass.exchange.errors import explain

    text = _read_text(error)
    found = explain.parse_error_text(text)
    if not found.numbers:
        raise Error("the text contains no AADSTS code", hint=_USAGE_HINT)
    known = [
        each for number in found.numbers if (each := explain.find_explanation(number)) is not None
    ]
    missing = [number for number in found.numbers if explain.find_explanation(number) is None]
    unknown = [
        {"code": number, "nearest": list(explain.similar_numbers(number))} for number in missing
    ]
    request = _find_request(data_dir, found.facts.get("correlation_id", ""))
    if output == "table":
        _print([*known], unknown, found.facts, request)
    else:
        codes = [_as_document(each) for each in known]
        print_output(
            {"codes": codes, "unknown": unknown, **found.facts, "request": request}, output
        )
    ctx.exit(1 if unknown else 0)


def _read_text(words: Iterable[str]) -> str:
    given = [word for word in words if word != "-"]
    if given:
        # Join the words of a text that the shell has split.
        return " ".join(given)[:_MAX_CHARS]
    if sys.stdin.isatty():
        raise UsageError("no error to explain was given", hint=_USAGE_HINT)
    return sys.stdin.read(_MAX_CHARS)


def _find_request(data_dir: DataDir, correlation_id: str) -> dict[str, Any] | None:
    """Find a request in the log of the instance; the log contains no token and no secret."""
    from podpass.local.token_trace import read_hops

    if not correlation_id or not data_dir.log_file.exists():
        return None
    found = None
    for hop in read_hops(data_dir.log_file):
        if hop.stage == "exchange" and hop.facts.get("correlation_id") == correlation_id:
            facts = {name: hop.facts[name] for name in _REQUEST_FIELDS if hop.facts.get(name)}
            found = {"passed": list(hop.checked), **facts}
    return found


def _as_document(each: Any) -> dict[str, Any]:
    return {
        "code": each.number,
        "name": each.name,
        "error": each.error,
        "status": each.status,
        "step": each.step,
        "says": each.says,
        "cause": each.cause,
        "resolution": each.resolution,
    }


def _print(
    known: list[Any], unknown: list[dict[str, Any]], facts: Any, request: dict[str, Any] | None
) -> None:
    for each in known:
        says = each.says or "only Entra returns this error; podpass never does"
        rows = [
            [each.name, f"{each.error}, HTTP {each.status}"],
            ["text", says],
            ["cause", each.cause],
            ["resolution", f"{each.resolution}."],
        ]
        click.echo(align(rows))
    for entry in unknown:
        similar = ", ".join(f"AADSTS{number}" for number in entry["nearest"])
        click.echo(
            f"AADSTS{entry['code']} is unknown" + (f"; similar codes: {similar}" if similar else "")
        )
        print_message(f"look it up at https://login.microsoftonline.com/error?code={entry['code']}")
    for name, value in facts.items():
        click.echo(f"{name.replace('_', ' ')}: {escape_unprintable(value)}")
    if request is not None:
        rows = [[name, _format_value(value)] for name, value in request.items()]
        click.echo("\nThe request in the log of this instance:\n" + align(rows), nl=False)
    elif "correlation_id" in facts:
        click.echo("To find the cause, search the log of the token service for the correlation id.")


def _format_value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
