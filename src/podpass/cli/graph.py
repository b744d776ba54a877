"""`podpass graph`: which ServiceAccounts can use which identities, and which resources these reach."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from podpass.cli import options
from podpass.cli.account_options import AccountOptions, build_options
from podpass.cli.azure_account import choose_kubeconfig, default_to_instance, sign_in
from podpass.cli.azure_cli_profile import SubscriptionNotChosen
from podpass.cli.completion_values import complete_any, complete_identities, complete_namespaces
from podpass.cli.output import escape_unprintable, print_message, print_output, wrap_text
from podpass.errors import UsageError

if TYPE_CHECKING:
    from podpass.diagnose.graph.model import TrustFacts, TrustGraph

_CONTINUED = 3
_NOT_READ = 3  # the exit code, as of `podpass doctor`
_FORMATS = ["text", "json", "yaml", "mermaid", "svg"]


def _run(focus: str, output: str, allow_issuer: tuple[str, ...]) -> int:
    from podpass.diagnose.graph.drawing import to_mermaid, to_svg
    from podpass.diagnose.graph.graph import build_graph
    from podpass.diagnose.graph.model import to_document

    chosen = AccountOptions.from_context(click.get_current_context())
    facts = asyncio.run(_read(chosen, frozenset(allow_issuer)))
    graph = build_graph(facts, focus)
    if output == "text":
        _print_text(graph)
    elif output in ("mermaid", "svg"):
        click.echo(to_svg(graph) if output == "svg" else to_mermaid(graph), nl=False)
    else:
        print_output(to_document(graph), output)
    if output != "text":
        for each in graph.unread:
            print_message(f"podpass: not read: {each}")
    # Without accounts or identities, a subject or a finding that is missing means nothing.
    is_partial = facts.cluster.unread or not facts.directory.has_all_identities
    return _NOT_READ if is_partial else 0


async def _read(given: AccountOptions, allowed: frozenset[str]) -> "TrustFacts":
    from podpass.cli.cluster import connect as connect_to_cluster
    from podpass.diagnose.graph.azure_snapshot import AzureReader
    from podpass.diagnose.graph.cluster_accounts import read_accounts
    from podpass.diagnose.graph.model import TrustFacts

    environ = options.environ()
    chosen = default_to_instance(given, environ)
    try:
        account = await sign_in(chosen, environ, print_message)
    except SubscriptionNotChosen as exc:
        raise UsageError(
            "no instance is running, and no Azure subscription is selected",
            hint="start an instance with `podpass up --detach`; for Azure, sign in with `az login`, or pass"
            " --subscription-id",
        ) from exc
    kubeconfig = choose_kubeconfig(chosen, account)
    async with connect_to_cluster(kubeconfig, environ) as cluster:
        accounts = await read_accounts(cluster, account.endpoints.audience)
    reader = AzureReader(
        manager=account.manager(),
        graph=account.graph(),
        tenant_id=account.tenant_id,
        login=account.endpoints.login,
        named=frozenset((each.client_id or "").lower() for each in accounts.accounts or ()),
    )
    directory = await reader.read(_read_exchanges(account.log_file))
    return TrustFacts(cluster=accounts, directory=directory, allowed_issuers=allowed)


def _read_exchanges(log_file: Path | None) -> Mapping[tuple[str, str], str] | None:
    """Return the last exchange with each credential from the log of the instance."""
    if log_file is None or not log_file.exists():  # `podpass cloud serve` logs to stderr
        return None
    from podpass.diagnose.trace.hop import HopResult
    from podpass.diagnose.trace.reader import read_all

    found: dict[tuple[str, str], str] = {}
    for hop in read_all(log_file):
        is_granted = hop.stage == "exchange" and hop.result is HopResult.PASSED
        if is_granted and not hop.is_by_doctor and hop.facts.get("credential"):
            found[str(hop.facts.get("client_id")), str(hop.facts["credential"])] = hop.time
    return found


def _print_text(graph: "TrustGraph") -> None:
    from podpass.diagnose.graph.report import describe

    for line in describe(graph):
        text, indent = escape_unprintable(line.text), " " * line.indent
        if not line.wraps or not text:
            click.echo(indent + text if text else "")
            continue
        first, *rest = wrap_text(text, line.indent + _CONTINUED).splitlines()
        click.echo(indent + first)
        for each in rest:
            click.echo(indent + " " * _CONTINUED + each)


_OPTIONS = (
    click.Option(
        ["--allow-issuer"],
        multiple=True,
        metavar="URL",
        help="Issuer that credentials may trust; may be repeated. Others become findings.",
    ),
    click.Option(
        ["-o", "--output"],
        type=click.Choice(_FORMATS),
        default="text",
        show_default=True,
        help="Output format.",
    ),
)

command = click.Command(
    "graph",
    params=[
        click.Argument(
            ["focus"],
            required=False,
            default="",
            metavar="[IDENTITY|NAMESPACE]",
            shell_complete=complete_any(complete_identities, complete_namespaces),
        ),
        *_OPTIONS,
        *build_options(),
    ],
    callback=_run,
    help="Show which ServiceAccounts can use which identity, and what each reaches.\n\n"
    "Lists the ServiceAccounts of a cluster, the federated credentials that accept their tokens, the"
    " identities, and the resources that their roles reach. Findings name credentials that match nothing,"
    " wide roles, shared identities, and accounts that their identity does not trust. Give the name or client"
    " id of an identity, or a namespace, for a part; write identity/NAME or namespace/NAME if both exist. It"
    " works on a local instance, and on Azure with the kubeconfig of a cluster and your own sign-in; it only"
    " reads. The exit code is 3 if the ServiceAccounts or the issuer of the cluster, or identities, could not"
    " be read; the output then says what.",
)
