"""`podpass lint`: federated credentials that Entra refuses, or that trust more than intended."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from podpass.cli import options
from podpass.cli.account_options import INSTANCE, AccountOptions, build_options
from podpass.cli.apply import read_valid_seed
from podpass.cli.azure_account import default_to_instance, sign_in
from podpass.cli.output import escape_unprintable, print_message, print_output, wrap_text
from podpass.errors import UsageError

if TYPE_CHECKING:
    from podpass.diagnose.lint.model import LintedIdentity, LintFacts, LintFinding
    from podpass.seed.model import Seed

_FOUND, _NOT_READ = 1, 3
_INDENT = 4


def _run(seed: str, policies: str, output: str, *, instance: bool) -> int:
    from podpass.diagnose.lint.model import LintFacts
    from podpass.diagnose.lint.rules import find_all
    from podpass.diagnose.lint.section import KEY, PolicyEntry

    account = AccountOptions.from_context(click.get_current_context())
    if instance:
        if seed or account.auth_method not in (None, INSTANCE):
            raise UsageError("--instance reads the local instance: omit SEED and --auth-method")
        account = replace(account, auth_method=INSTANCE)
    parsed = [_parse(file) for file in (seed, policies) if file]
    if seed:
        facts, unread = LintFacts(identities=_of_seed(parsed[0])), list[str]()
    else:
        facts, unread = asyncio.run(_read(account))
    entries = [entry for each in parsed for entry in each.entries[KEY]]
    assigned = [each.policy for each in entries if isinstance(each, PolicyEntry)]
    found = list(find_all(replace(facts, policies=[*assigned, *facts.policies])))
    if output == "text":
        print_findings(found, seed)
    else:
        print_output({"findings": [asdict(each) for each in found], "unread": unread}, output)
    for text in unread:
        print_message(f"podpass: not read: {text}")
    return exit_code(found, unread)


def exit_code(found: "Iterable[LintFinding]", unread: Sequence[str]) -> int:
    """Return the exit code: warnings and notes are no findings."""
    from podpass.diagnose.lint.model import ERROR

    if any(each.level == ERROR for each in found):
        return _FOUND
    return _NOT_READ if unread else 0


def _parse(file: str) -> "Seed":
    from podpass.lab.services import parse_seed

    return parse_seed(read_valid_seed(file, file), file)


def _of_seed(seed: "Seed") -> "list[LintedIdentity]":
    from podpass.diagnose.lint.model import LintedIdentity

    return [
        LintedIdentity(
            name=each.name,
            kind=each.kind,
            credentials=each.credentials,
            line=each.line,
            credential_lines=each.credential_lines,
        )
        for each in seed.identities
    ]


async def _read(given: AccountOptions) -> "tuple[LintFacts, list[str]]":
    """Return the identities and policies of the running instance or of Azure, and what was not read."""
    from podpass.diagnose.graph.azure_snapshot import AzureReader
    from podpass.diagnose.lint.reader import read_facts

    environ = options.environ()
    account = await sign_in(default_to_instance(given, environ), environ, print_message)
    reader = AzureReader(
        manager=account.manager(),
        graph=account.graph(),
        tenant_id=account.tenant_id,
        login=account.endpoints.login,
    )
    return await read_facts(reader, datetime.now(UTC)), reader.unread


def print_findings(found: "Iterable[LintFinding]", seed: str) -> None:
    """Print the findings, and how many there are of each level."""
    from podpass.diagnose.lint.model import ERROR, NOTE, WARNING

    for each in found:
        place = f"{seed}:{each.line}: " if each.line else ""
        credential = f", credential {each.credential}" if each.credential else ""
        level = "" if each.level == ERROR else f"{each.level}: "
        text = f"{place}{level}{each.code}: identity {each.identity}{credential}: {each.message}"
        click.echo(wrap_text(escape_unprintable(text)))
        fix = wrap_text(f"fix: {each.fix}", _INDENT)
        click.echo("\n".join(" " * _INDENT + line for line in fix.splitlines()))
    number = Counter(each.level for each in found)
    counts = [_count(number[ERROR], "finding")]
    counts += [_count(number[level], level) for level in (WARNING, NOTE) if number[level]]
    print_message(", ".join(counts))


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


command = click.Command(
    "lint",
    params=[
        click.Argument(["seed"], required=False, default="", metavar="[SEED]"),
        click.Option(
            ["--instance"],
            is_flag=True,
            help="Read the local instance, also if it is not the account of this shell.",
        ),
        click.Option(
            ["--policies"],
            default="",
            metavar="FILE",
            help="Seed file with more `policies:` of the tenant; those of SEED are always used.",
        ),
        click.Option(
            ["-o", "--output"],
            type=click.Choice(["text", "json", "yaml"]),
            default="text",
            show_default=True,
            help="Output format.",
        ),
        *build_options(),
    ],
    callback=_run,
    help="Find federated credentials that Entra refuses, or that trust more than intended.\n\n"
    "SEED is a seed file. Without it, the command reads the identities of a local instance, or of"
    " Azure with your own sign-in. In Azure, it also reads the assignments of Microsoft's policies,"
    " and exemptions. It changes nothing. It finds subjects that name a repository or a project by a"
    " name that another owner can take, wildcards in subjects, expressions that Entra refuses,"
    " inexact issuers and audiences, the 21st credential, issuers that Microsoft's policies refuse,"
    " and chains of two federated credentials. The exit code is 1 with findings, and 3 without"
    " findings if something could not be read. Warnings and notes are no findings.",
)
