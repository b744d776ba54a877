"""`podpass serviceaccount`: the phases and flags of `azwi serviceaccount`, and managed identities."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podpass.cli import options
from podpass.cli.account_options import INSTANCE, AccountOptions, build_options
from podpass.cli.azure_account import choose_method, sign_in
from podpass.cli.completion_values import complete_identities, complete_namespaces
from podpass.cli.output import print_message, print_output
from podpass.cli.phase_log import PhaseLog
from podpass.cli.token_expiration import FLAG, parse_phase_token_expiration
from podpass.errors import UsageError

if TYPE_CHECKING:
    from podpass.provision.account import AzureAccount
    from podpass.provision.model import ProvisionRequest
    from podpass.provision.steps import Clients
    from podpass.provision.workflow import Outcome

REFERENCE = "azwi"  # the context's object in `podpass azwi`
_CREATE, _DELETE = "create", "delete"
_COLUMNS = {
    "PHASE": "phase",
    "ACTION": "action",
    "OBJECT": "kind",
    "NAME": "name",
    "NOTE": "note",
}

_OPTIONS: Mapping[str, tuple[str, str, str]] = {
    "account": ("--service-account-name", "NAME", "Name of the ServiceAccount."),
    "issuer": ("--service-account-issuer-url", "URL", "Issuer of the cluster's tokens."),
    "application_name": (
        "--aad-application-name",
        "NAME",
        "Name of the application.  [default: namespace, name, and hash of the issuer]",
    ),
    "application_client_id": (
        "--aad-application-client-id",
        "ID",
        "Client ID of the application.  [default: looked up by name]",
    ),
    "application_object_id": (
        "--aad-application-object-id",
        "ID",
        "Object ID of the application.  [default: looked up by name]",
    ),
    "managed_identity": (
        "--managed-identity-name",
        "NAME",
        "Use a managed identity with this name instead of an application.",
    ),
    "resource_group": ("--resource-group", "G", "Resource group of the managed identity."),
    "location": (
        "--location",
        "L",
        "Location of a new managed identity.  [default: that of the resource group]",
    ),
    "principal_name": (
        "--service-principal-name",
        "NAME",
        "Name of the service principal.  [default: the name of the application]",
    ),
    "principal_object_id": (
        "--service-principal-object-id",
        "ID",
        "Object ID of the service principal.  [default: looked up by name]",
    ),
    "scope": ("--azure-scope", "SCOPE", "Scope of the role assignment, a resource id."),
    "role": ("--azure-role", "ROLE", "Name or ID of the role, such as Reader."),
    "assignment_id": ("--role-assignment-id", "ID", "Resource id of the role assignment."),
    "expression": (
        "--claims-matching-expression",
        "EXPRESSION",
        "Use a flexible credential with this expression in place of the ServiceAccount's subject.",
    ),
}
_ACCOUNT = ("account", "namespace")
_MANAGED = ("managed_identity", "resource_group")
_PRINCIPAL = ("principal_name", "principal_object_id")
_CREDENTIAL = (
    *(*_ACCOUNT, "issuer", "expression", "application_name", "application_object_id"),
    *_MANAGED,
)
# For each phase: alias, help, and the options of `phase NAME`.
_CREATE_PHASES: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "aad-application": (
        "app",
        "Create an application and its service principal",
        ("application_name",),
    ),
    "managed-identity": (
        "mi",
        "Create a managed identity",
        (*_MANAGED, "location"),
    ),
    "service-account": (
        "sa",
        "Create or annotate the ServiceAccount in the cluster of the kubeconfig",
        (*_ACCOUNT, "token_seconds", "application_name", "application_client_id", *_MANAGED),
    ),
    "federated-identity": (
        "fi",
        "Create the federated credential that trusts the ServiceAccount",
        _CREDENTIAL,
    ),
    "role-assignment": (
        "ra",
        "Assign a role to the identity",
        ("scope", "role", *_PRINCIPAL, *_MANAGED),
    ),
}
_DELETE_PHASES: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "role-assignment": (
        "ra",
        "Delete the role assignment",
        ("assignment_id", "scope", "role", *_PRINCIPAL, *_MANAGED),
    ),
    "federated-identity": (
        "fi",
        "Delete the federated credential that trusts the ServiceAccount",
        _CREDENTIAL,
    ),
    "service-account": (
        "sa",
        "Delete the ServiceAccount in the cluster of the kubeconfig",
        _ACCOUNT,
    ),
    "aad-application": (
        "app",
        "Delete the application and its service principal",
        ("application_name", "application_object_id"),
    ),
    "managed-identity": ("mi", "Delete the managed identity", _MANAGED),
}


class AliasGroup(click.Group):
    """A command group whose commands have short names."""

    def __init__(self, *args: Any, aliases: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(*args, **more)
        self.aliases = dict(aliases or {})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, self.aliases.get(cmd_name, cmd_name))


def _build_option(name: str) -> click.Option:
    if name == "namespace":
        return click.Option(
            ["--service-account-namespace", name],
            default="default",
            show_default=True,
            metavar="N",
            shell_complete=complete_namespaces,
            help="Namespace of the ServiceAccount.",
        )
    if name == "token_seconds":
        return click.Option(
            [FLAG, name],
            metavar="DURATION",
            callback=parse_phase_token_expiration,
            help="Lifetime of the ServiceAccount's tokens, 1h to 24h.  [default: 1h]",
        )
    flag, metavar, text = _OPTIONS[name]
    complete = complete_identities if name == "managed_identity" else None
    return click.Option(
        [flag, name], default="", metavar=metavar, help=text, shell_complete=complete
    )


def _common_options(verb: str) -> list[click.Option]:
    found = [
        click.Option(
            ["--dry-run"], is_flag=True, help="Print what would be done, and change nothing."
        ),
        click.Option(
            ["-o", "--output"],
            type=click.Choice(["table", "json", "yaml"]),
            help="Output format.  [default: table]",
        ),
    ]
    if verb == _DELETE:
        found.append(
            click.Option(
                ["--yes", "-y"], is_flag=True, help="Do not ask about objects that others use."
            )
        )
    return found


def _build_phase(
    verb: str, name: str, alias: str, text: str, names: Sequence[str]
) -> click.Command:
    def run(**values: Any) -> None:
        _run(verb, [name], values)

    params: list[click.Parameter] = [
        *map(_build_option, names),
        *_common_options(verb),
        *build_options(),
    ]
    return click.Command(name, params=params, callback=run, help=f"{text} (alias {alias}).")


def _build_verb(verb: str) -> click.Group:
    phases = _CREATE_PHASES if verb == _CREATE else _DELETE_PHASES
    names = dict.fromkeys(name for _, _, each in phases.values() for name in each)
    width = max(map(len, phases))
    listed = "\n".join(f"{name.ljust(width)}  {text}" for name, (_, text, _) in phases.items())

    def run(**values: Any) -> None:
        if click.get_current_context().invoked_subcommand is None:
            _run(verb, None, values)

    skip = click.Option(
        ["--skip-phases"],
        multiple=True,
        metavar="PHASES",
        help="Phases to skip, separated by commas.",
    )
    group = click.Group(
        verb,
        params=[*map(_build_option, names), skip, *_common_options(verb), *build_options()],
        callback=run,
        invoke_without_command=True,
        help=f"{verb.capitalize()} a workload identity.\n\n"
        f'The "{verb}" command executes the following phases in order:\n\n\b\n{listed}\n\n'
        "With --managed-identity-name, the phase managed-identity takes the place of aad-application."
        " A second run changes nothing, so an interrupted one is resumed by the same command.",
    )
    phase = AliasGroup(
        "phase",
        help=f"Run one phase of the {verb} workflow.",
        aliases={alias: name for name, (alias, _, _) in phases.items()},
    )
    for name, (alias, text, options_of_phase) in phases.items():
        phase.add_command(_build_phase(verb, name, alias, text, options_of_phase))
    group.add_command(phase)
    return group


command = click.Group(
    "serviceaccount",
    params=list(build_options()),
    help="Create and delete workload identities: identity, credential, ServiceAccount, role.",
)
command.add_command(_build_verb(_CREATE))
command.add_command(_build_verb(_DELETE))


def _run(verb: str, phases: list[str] | None, values: dict[str, Any]) -> None:
    from podpass.provision import request_checks

    ctx = click.get_current_context()
    log = PhaseLog(as_reference=ctx.obj == REFERENCE)
    form, dry_run, yes = values.pop("output"), values.pop("dry_run"), values.pop("yes", False)
    skipped = [name for each in values.pop("skip_phases", ()) for name in each.split(",") if name]
    order = request_checks.CREATE_ORDER if verb == _CREATE else request_checks.DELETE_ORDER
    if phases is None:
        is_managed = bool(values.get("managed_identity"))
        phases = list(request_checks.select_phases(order, skipped, is_managed=is_managed))
        for name in skipped:
            log.skipped(request_checks.ALIASES.get(name, name))
    request = _build_request(phases, values, log)
    check = request_checks.check_create if verb == _CREATE else request_checks.check_delete
    check(request)
    chosen = AccountOptions.from_context(ctx)
    work = _work(verb, request, chosen, log, dry_run=dry_run, yes=yes)
    outcome = asyncio.run(work)
    _print_outcome(outcome, form, ctx, dry_run=dry_run)


def _build_request(phases: list[str], values: dict[str, Any], log: PhaseLog) -> "ProvisionRequest":
    from podpass.provision.model import ProvisionRequest

    given = {key: value for key, value in values.items() if value}
    request = ProvisionRequest(phases=tuple(phases), **given)
    if request.scope != "/":
        request = replace(request, scope=request.scope.rstrip("/"))
    if request.is_managed and not request.resource_group:
        raise UsageError("--managed-identity-name needs --resource-group")
    if not request.is_managed and not request.application_name and request.resolved_name:
        log.report(
            "--aad-application-name not specified, constructing name with service account namespace,"
            " name, and the hash of the issuer URL"
        )
    return request


async def _work(
    verb: str,
    request: "ProvisionRequest",
    chosen: AccountOptions,
    log: PhaseLog,
    *,
    dry_run: bool,
    yes: bool,
) -> "Outcome":
    from podpass.provision import workflow
    from podpass.provision.model import ACCOUNT

    environ = options.environ()
    # Only the cluster is needed to delete a ServiceAccount; a local instance has the kubeconfig of its own.
    is_local = choose_method(chosen, environ) == INSTANCE
    needs_azure = verb == _CREATE or request.phases != (ACCOUNT,) or is_local
    account = await sign_in(chosen, environ, log.report) if needs_azure else None
    if account is not None:
        request = replace(request, tenant_id=account.tenant_id, audience=account.endpoints.audience)
    async with _clients(request, chosen, account, environ) as clients:
        if verb == _CREATE:
            return await workflow.create(
                request,
                clients,
                commit=environ.get("PODPASS_BUILD_COMMIT", "unknown"),
                dry_run=dry_run,
                finished=log.finished,
                report=log.report,
            )
        return await workflow.delete(
            request,
            clients,
            confirm=lambda uses: yes or _confirm(uses),
            dry_run=dry_run,
            finished=log.finished,
            report=log.report,
        )


@asynccontextmanager
async def _clients(
    request: "ProvisionRequest",
    chosen: AccountOptions,
    account: "AzureAccount | None",
    environ: Mapping[str, str],
) -> AsyncIterator["Clients"]:
    from podpass.provision.model import ACCOUNT
    from podpass.provision.steps import Clients

    clients = Clients()
    if account is not None:
        clients.graph, clients.manager = account.graph(), account.manager()
    if ACCOUNT not in request.phases:
        yield clients
        return
    from podpass.cli.cluster import connect
    from podpass.provision.service_accounts import ServiceAccountClient

    given = Path(chosen.kubeconfig) if chosen.kubeconfig else None
    kubeconfig = given or (account.kubeconfig if account else None)
    async with connect(kubeconfig, environ) as client:
        clients.accounts = ServiceAccountClient(client)
        yield clients


def _confirm(uses: Sequence[str]) -> bool:
    """Ask on a terminal whether to delete objects that others use; without a terminal, do not."""
    if not sys.stdin.isatty():
        return False
    for each in uses:
        print_message(each)
    return click.confirm("Delete nevertheless?", err=True)


def _print_outcome(
    outcome: "Outcome",
    form: str | None,
    ctx: click.Context,
    *,
    dry_run: bool,
) -> None:
    rows = [
        {
            "phase": each.phase,
            "action": str(each.action),
            "kind": str(each.kind),
            "name": each.name,
            "note": each.note,
        }
        for each in outcome.steps
    ]
    if form in ("json", "yaml"):
        print_output({"dry_run": dry_run, **outcome.ids, "steps": rows}, form)
    elif form == "table" or dry_run or ctx.obj != REFERENCE:
        print_output(rows, "table", _COLUMNS)
