"""`podpass explain`."""

import os
import re
import shlex
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import click
from click.shell_completion import CompletionItem

from podpass import guids
from podpass.cli import options
from podpass.cli.completion_values import complete_namespaces, complete_pods
from podpass.cli.output import (
    align,
    escape_unprintable,
    print_message,
    print_output,
    text_width,
    wrap_text,
)
from podpass.errors import Error, UsageError
from podpass.lab.data.datadir import DataDir

if TYPE_CHECKING:
    from podpass.diagnose.doctor.credentials import CredentialComparison
    from podpass.diagnose.explain.recognition import Recognition, RecognizedError

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
    "claims",
    "kid",
    "credential",
]
_CLIENT_ID = re.compile(rf"identifier '({guids.PATTERN})'", re.IGNORECASE)
_NAME = re.compile(r"\{(\w+)\}")
_USAGE_HINT = "pass a number (700213), a name (AADSTS700213), the full text of an error, or a log"
_READ_BYTES = 1024 * 1024


def _complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from podpass.exchange.errors import explanations

    prefix = "" if incomplete[:1].isdecimal() else "AADSTS"
    names = (
        (f"{prefix}{number}", explanations.find_explanation(number))
        for number in explanations.known_numbers()
    )
    return [
        CompletionItem(name, help=found.cause if found else "")
        for name, found in names
        if name.startswith(incomplete.upper())
    ]


@click.command
@options.data_dir
@options.output()
@click.option(
    "--pod",
    metavar="POD",
    shell_complete=complete_pods,
    help="Explain the last error in the log of this pod, or why it has no identity.",
)
@click.option(
    "--namespace",
    "-n",
    default="default",
    show_default=True,
    metavar="N",
    shell_complete=complete_namespaces,
    help="Namespace of the pod.",
)
@click.argument("error", nargs=-1, metavar="[CODE|TEXT|-]...", shell_complete=_complete)
@click.pass_context
def command(
    ctx: click.Context,
    data_dir: DataDir,
    output: str,
    pod: str | None,
    namespace: str,
    error: tuple[str, ...],
) -> None:
    """Explain the text of an error, or a whole log: meaning, cause and resolution.

    It recognizes AADSTS codes, the sentences of the Azure SDKs, Key Vault's errors, refusals and warnings of
    the webhook, errors of the migration sidecar, and events of kubectl; also in JSON and with colors. Pass
    codes or the text; without an argument it reads stdin, of a large input the last 8 MiB. If the text
    contains a correlation id that is in the log of the instance, the facts of that request are shown too,
    and the federated credentials next to the assertion: a caret marks each character that differs. Exits
    with status 1 when nothing is recognized, or a code is unknown.
    """
    from podpass.diagnose.explain.recognition import recognize
    from podpass.exchange.errors import explanations

    text, values = (
        (_read_text(error), {}) if pod is None else _read_pod_log(data_dir, namespace, pod)
    )
    found = recognize(text)
    findings = [each.fill({**values, **found.values}) for each in found.findings]
    if not found.numbers and not found.findings:
        raise Error(
            "the text contains no AADSTS code and no error that podpass knows",
            hint=f"to explain a file: podpass explain < {shlex.quote(text)}"
            if os.path.isfile(text)  # noqa: PTH113 a text may be too long for a path
            else _USAGE_HINT,
        )
    known = [
        each
        for number in found.numbers
        if (each := explanations.find_explanation(number, found.messages.get(number, "")))
    ]
    missing = [number for number in found.numbers if explanations.find_explanation(number) is None]
    unknown = [
        {"code": number, "nearest": list(explanations.similar_numbers(number))}
        for number in missing
    ]
    request = _find_request(data_dir, found.facts.get("correlation_id", ""))
    client, comparisons = _compare(data_dir, request, text)
    if comparisons:
        from podpass.cli import credential_report
    if output == "table":
        _print([*known], unknown, found, request)
        _print_findings(findings, is_first=not found.numbers)
        if client:
            click.echo("\n" + wrap_text(client))
        if comparisons:
            credential_report.print_comparisons(comparisons)
    else:
        print_output(
            {
                "codes": [_as_document(each) for each in known],
                "unknown": unknown,
                "recognized": [_finding_to_json(each) for each in findings],
                **found.facts,
                "request": request,
                "client": client,
                "credentials": [credential_report.to_json(each) for each in comparisons],
            },
            output,
        )
    ctx.exit(1 if unknown else 0)


def _read_pod_log(data_dir: DataDir, namespace: str, pod: str) -> tuple[str, dict[str, str]]:
    from podpass.cli.pod_log import read_last_error  # imports asyncio

    return read_last_error(data_dir, namespace, pod)


def _read_text(words: Iterable[str]) -> str:
    given = [word for word in words if word != "-"]
    if given:
        # Join the words of a text that the shell has split.
        return " ".join(given)
    if sys.stdin.isatty():
        raise UsageError("no error to explain was given", hint=_USAGE_HINT)
    return _read_end(sys.stdin.buffer)


def _read_end(stream: BinaryIO) -> str:
    """Read a stream to its end; return the first bytes, which may be a byte order mark, and the last."""
    from podpass.diagnose.explain.text import MAX_CHARS, decode

    first = stream.read(_READ_BYTES)
    rest: deque[bytes] = deque(maxlen=MAX_CHARS // _READ_BYTES)
    while block := stream.read(_READ_BYTES):
        rest.append(block)
    return decode(b"".join((first, *rest)))


def _finding_to_json(found: "RecognizedError") -> dict[str, Any]:
    return {
        "id": found.sentence.id,
        "stage": found.sentence.stage,
        "means": found.sentence.means,
        "run": found.sentence.run,
        "excerpt": found.excerpt,
    }


def _print_findings(findings: Sequence["RecognizedError"], *, is_first: bool) -> None:
    for number, found in enumerate(findings):
        if number or not is_first:
            click.echo()
        rows = [
            [found.sentence.stage, found.sentence.id],
            ["text", found.excerpt],
            ["cause", f"{found.sentence.means}."],
            ["resolution", found.sentence.run],  # no full stop: it can end with a command
        ]
        click.echo(align(rows, text_width()), nl=False)


def _compare(
    data_dir: DataDir, request: dict[str, Any] | None, text: str
) -> "tuple[str | None, list[CredentialComparison]]":
    """Compare a refused request with the directory of the instance, if it is running.

    Returns what is wrong with the client id, and the credentials of its identity.
    """
    named = _CLIENT_ID.search(text)
    client_id = (request or {}).get("client_id") or (named[1] if named else None)
    if not client_id:
        return None, []
    from podpass.cli.client import list_identities, read_status  # imports an HTTP client
    from podpass.diagnose.doctor.credentials import compare, read_presented

    status = read_status(data_dir)
    if status is None:
        return None, []
    identities, _ = list_identities(data_dir)
    logged = request or {}
    presented = read_presented({**logged, **logged.get("claims", {})})
    own = [row for row in identities if row["client_id"] == client_id.lower()]
    trusted = "trust" in (request or {}).get("passed", ())
    wrong = None if own else _explain_client_id(data_dir, client_id)
    return wrong, [] if presented is None or trusted else compare(own, presented)


def _explain_client_id(data_dir: DataDir, client_id: str) -> str | None:
    """Describe a client id that no identity of the instance has; return None if it is unknown."""
    import asyncio

    from podpass.cli.account_options import INSTANCE, AccountOptions
    from podpass.cli.azure_account import sign_in
    from podpass.diagnose.doctor.directory_facts import CallerDirectory

    async def read() -> str | None:
        chosen = AccountOptions(auth_method=INSTANCE, data_dir=str(data_dir.root))
        account = await sign_in(chosen, options.environ(), print_message)
        reader = CallerDirectory(
            account.graph_api(), account.manager_api(), account.subscription_id
        )
        other = await reader.explain_id(client_id, account.tenant_id)
        return None if other is None else f"{client_id} is not a client id but {other}"

    return asyncio.run(read())


def _find_request(data_dir: DataDir, correlation_id: str) -> dict[str, Any] | None:
    """Find a request in the log of the instance; the log contains no token and no secret."""
    if not correlation_id or not os.access(data_dir.log_file, os.R_OK):
        return None
    from podpass.diagnose.trace.reader import read_all  # imports asyncio

    found = None
    for hop in read_all(data_dir.log_file):
        if hop.stage == "exchange" and hop.correlation_id == correlation_id:
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
    known: list[Any],
    unknown: list[dict[str, Any]],
    found: "Recognition",
    request: dict[str, Any] | None,
) -> None:
    facts = found.facts
    for each in known:
        # Without the message of an error, its template is shown: 'CLIENT' is the placeholder of a client id.
        form = _NAME.sub(lambda name: name[1].upper(), each.says)
        says = found.messages.get(each.number) or form
        says = escape_unprintable(says) or "only Entra returns this error; podpass never does"
        rows = [
            [each.name, f"{each.error}, HTTP {each.status}"],
            ["text", says],
            ["cause", each.cause],
            ["resolution", f"{each.resolution}."],
        ]
        click.echo(align(rows, text_width()))
    for entry in unknown:
        similar = ", ".join(f"AADSTS{number}" for number in entry["nearest"])
        click.echo(
            wrap_text(
                f"AADSTS{entry['code']} is unknown"
                + (f"; similar codes: {similar}" if similar else "")
            )
        )
        print_message(f"look it up at https://login.microsoftonline.com/error?code={entry['code']}")
    for name, value in facts.items():
        click.echo(wrap_text(f"{name.replace('_', ' ')}: {escape_unprintable(value)}"))
    if request is not None:
        rows = [[name, _format_value(value)] for name, value in request.items()]
        click.echo("\nThe request in the log of this instance:\n" + align(rows), nl=False)
    elif "correlation_id" in facts and known:
        click.echo(
            wrap_text(
                "To find the cause, search the log of the token service for the correlation id."
            )
        )


def _format_value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
