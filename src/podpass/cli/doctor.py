"""`podpass doctor`: its options, the sign-in that reads the cloud half, and the report."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podpass.cli import options
from podpass.cli.account_options import INSTANCE, AccountOptions, build_options
from podpass.cli.azure_account import sign_in
from podpass.cli.completion_values import complete_namespaces, complete_vaults, complete_workloads
from podpass.cli.output import escape_unprintable, print_message, print_output, wrap_text
from podpass.errors import UsageError
from podpass.lab.data.datadir import DataDir
from podpass.names import DOCTOR_AGENT

if TYPE_CHECKING:
    from podpass.diagnose.doctor.cloud_facts import CloudReader
    from podpass.diagnose.doctor.directory_facts import RequestedResource
    from podpass.diagnose.doctor.model import CloudFacts, ClusterFacts, Diagnosis
    from podpass.diagnose.trace.assignment import AssignedHop
    from podpass.kubernetes.client import KubeClient

_WRONG, _NOT_READ = 1, 3
_MAX_WORKLOADS = 50
_MAX_NAMES = 3
# The doctor reports a service that does not respond, and does not wait for it.
_SECONDS = 5.0
_PUBLIC = "AzurePublicCloud"
_CLOUD_OPTIONS = (
    *build_options(without=("data_dir", "kubeconfig")),
    click.Option(
        ["--vault"],
        default="",
        metavar="NAME|URL|ID",
        shell_complete=complete_vaults,
        help="Key vault whose secrets the workload reads; checks its role there.",
    ),
    click.Option(
        ["--resource"],
        default="",
        metavar="ID",
        help="Resource id of any resource that the workload uses.",
    ),
    click.Option(
        ["--action"],
        default="",
        metavar="ACTION",
        help="Action at the resource that its roles must allow.  [default: any]",
    ),
    click.Option(
        ["--data-action"],
        default="",
        metavar="ACTION",
        help="Data action that its roles must allow.  [default for a vault: read secrets]",
    ),
    click.Option(
        ["--exchange"],
        is_flag=True,
        help="Request a token of the ServiceAccount and exchange it. A local instance always does.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudOptions:
    """The account that reads, the resource of the workload, and whether a token is exchanged."""

    account: AccountOptions
    wanted: "RequestedResource | None" = None
    exchange: bool = False

    @classmethod
    def from_context(
        cls,
        ctx: click.Context,
        data_dir: DataDir,
        *,
        vault: str,
        resource: str,
        action: str,
        data_action: str,
        exchange: bool,
    ) -> "CloudOptions":
        """Collect the options of the command. Raises UsageError."""
        from podpass.diagnose.doctor.directory_facts import parse_requested_resource

        return cls(
            account=replace(AccountOptions.from_context(ctx), data_dir=str(data_dir.root)),
            wanted=parse_requested_resource(vault, resource, action, data_action),
            exchange=exchange,
        )


@click.command
@options.data_dir
@click.option(
    "-n",
    "--namespace",
    default="default",
    show_default=True,
    metavar="N",
    shell_complete=complete_namespaces,
    help="Namespace of the workload.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="F",
    help="Kubeconfig of the cluster.  [default: KUBECONFIG, then the running instance, then ~/.kube/config]",
)
@options.output("table", "json", "yaml")
@click.argument(
    "target",
    default="",
    metavar="[POD|DEPLOYMENT|SERVICEACCOUNT|NAMESPACE]",
    shell_complete=complete_workloads,
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    data_dir: DataDir,
    namespace: str,
    kubeconfig: Path | None,
    output: str,
    target: str,
    **cloud: Any,
) -> int:
    """Find out why a workload gets no token: the first problem, and its fix.

    Checks the stages of a token in order, from the ServiceAccount to the resource. The argument is a name, or
    pod/NAME, deployment/NAME (also statefulset, daemonset, job), serviceaccount/NAME or namespace/NAME;
    without it, all workloads of the namespace with an identity are checked. Of a Deployment, the pod template
    and the newest three pods are checked. Nothing is changed: podpass reads objects, sends a pod as a dry
    run, and runs one command in the pod that prints no secret. The exit code is 0 if nothing is wrong, 1 if
    something is, and 3 if nothing wrong was found but something could not be read.
    """
    chosen = CloudOptions.from_context(ctx, data_dir, **cloud)
    found = asyncio.run(_diagnose(data_dir, kubeconfig, target, namespace, chosen))
    if output == "table":
        _print(found)
    else:
        print_output({"workloads": [_as_json(each) for each in found]}, output)
    if not all(each.is_healthy for each in found):
        return _WRONG
    return 0 if all(each.is_complete for each in found) else _NOT_READ


command.params += _CLOUD_OPTIONS


async def _diagnose(
    data_dir: DataDir, kubeconfig: Path | None, target: str, namespace: str, cloud: CloudOptions
) -> Sequence["Diagnosis"]:
    from podpass.cli.cluster import connect_to_cluster
    from podpass.diagnose.doctor.asked_authorities import AskedAuthorities
    from podpass.diagnose.doctor.run import diagnose
    from podpass.diagnose.doctor.targets import find_workloads

    async with connect_to_cluster(data_dir, kubeconfig, options.environ()) as client:
        workloads = await find_workloads(client, target, namespace)
        if len(workloads) > _MAX_WORKLOADS:
            count = f"the first {_MAX_WORKLOADS} of {len(workloads)} workloads"
            print_message(f"only {count} are checked; pass the name of another one to check it")
        reader = await open_cloud(cloud, options.environ(), client)
        hops = _read_hops(data_dir) if _is_instance(cloud.account, client) else ()
        asked = AskedAuthorities(hops)

        async def read(cluster: "ClusterFacts") -> "CloudFacts":
            return replace(await reader.read(cluster), asked=asked.find(cluster))

        return await diagnose(client, workloads[:_MAX_WORKLOADS], read_cloud=read)


def _read_hops(data_dir: DataDir) -> "Iterable[AssignedHop]":
    from podpass.diagnose.trace.reader import InstanceLog

    return InstanceLog(data_dir.log_file, data_dir.path("pods")).read_all()


def _print(found: Sequence["Diagnosis"]) -> None:
    """Print each result once, with the names of all workloads that have it."""
    groups: dict[object, list[Diagnosis]] = {}
    for diagnosis in found:
        groups.setdefault(_describe_result(diagnosis), []).append(diagnosis)
    for first, *others in groups.values():
        _print_one(first)
        if others:
            names = ", ".join(each.workload for each in others[:_MAX_NAMES])
            more = len(others) - _MAX_NAMES
            text = f"the same for {names}" + (f" and {more} others" if more > 0 else "")
            click.echo(_indent(escape_unprintable(text), "  "))


def _describe_result(diagnosis: "Diagnosis") -> object:
    """Return the result without the name of its workload, so that equal ones are equal."""
    name = diagnosis.workload.rpartition("/")[2]

    def hide(text: str) -> str:
        return text.replace(name, "")

    findings = [
        (each.check, *map(hide, (each.object, each.message, each.fix)))
        for each in diagnosis.findings
    ]
    not_checked = [(each.check, hide(each.reason)) for each in diagnosis.not_checked]
    return tuple(findings), tuple(not_checked), tuple(diagnosis.passed)


def _print_one(diagnosis: "Diagnosis") -> None:
    click.echo(f"{escape_unprintable(diagnosis.workload)}: {_conclude(diagnosis)}")
    for finding in diagnosis.findings:
        click.echo(f"  {finding.stage}: {finding.check}")
        click.echo(_indent(f"{escape_unprintable(f'{finding.object}: {finding.message}')}", "    "))
        # A command is not wrapped, so that it can be copied.
        click.echo(f"    fix: {escape_unprintable(finding.fix)}")
    reasons: dict[str, list[str]] = {}
    for each in diagnosis.not_checked:
        reasons.setdefault(each.reason, []).append(each.check)
    for reason, checks in reasons.items():
        text = f"not checked ({', '.join(checks)}): {escape_unprintable(reason)}"
        click.echo(_indent(text, "  "))


def _conclude(diagnosis: "Diagnosis") -> str:
    passed = f"{len(diagnosis.passed)} check{'' if len(diagnosis.passed) == 1 else 's'} passed"
    if diagnosis.findings:
        count = len(diagnosis.findings)
        return f"{count} problem{'s' if count > 1 else ''}, {passed}"
    return f"nothing wrong, {passed}"


def _indent(text: str, margin: str) -> str:
    return "\n".join(margin + line for line in wrap_text(text, len(margin)).splitlines())


def _as_json(diagnosis: "Diagnosis") -> dict[str, Any]:
    return {
        "workload": diagnosis.workload,
        "healthy": diagnosis.is_healthy,
        "findings": [asdict(each) | {"stage": str(each.stage)} for each in diagnosis.findings],
        "not_checked": [
            asdict(each) | {"stage": str(each.stage)} for each in diagnosis.not_checked
        ],
        "passed": list(diagnosis.passed),
    }


async def open_cloud(
    chosen: CloudOptions, environ: Mapping[str, str], cluster: "KubeClient"
) -> "CloudReader":
    """Return a reader; without a sign-in, it reads what anyone may read.

    For the cluster of the running instance, its administrator signs in, unless the options say otherwise.
    Raises UsageError for an option.
    """
    from podpass.diagnose.doctor.cloud_facts import CloudReader
    from podpass.facts import Unread
    from podpass.provision.connection import AzureConnection, RequestLimits
    from podpass.provision.endpoints import find_endpoints
    from podpass.provision.errors import ApiError, SignInFailed

    limits = RequestLimits(attempts=1, seconds=_SECONDS)
    options, exchanging = chosen.account, cluster if chosen.exchange else None
    if options.auth_method is None and _is_instance(options, cluster):
        options = replace(options, auth_method=INSTANCE)
    try:
        signed_in = await sign_in(options, environ, print_message, limits)
    except (ApiError, SignInFailed, UsageError) as exc:
        if isinstance(exc, UsageError) and options.auth_method is not None:
            raise
        stack_file = environ.get("AZURE_ENVIRONMENT_FILEPATH", "")
        endpoints = find_endpoints(options.azure_env or _PUBLIC, stack_file=stack_file)
        connection = AzureConnection.from_environ(environ, agent=DOCTOR_AGENT, limits=limits)
        reason = f"no sign-in: {exc.message}" + (f"; {exc.hint}" if exc.hint else "")
        return CloudReader(endpoints, connection, Unread(reason), cluster=exchanging)
    # Before the first token is requested, so that the log of the token service marks every request.
    signed_in.connection.agent = DOCTOR_AGENT
    return CloudReader(
        signed_in.endpoints,
        signed_in.connection,
        signed_in,
        wanted=chosen.wanted,
        cluster=cluster if signed_in.is_instance else exchanging,
    )


def _is_instance(chosen: AccountOptions, cluster: "KubeClient") -> bool:
    """Return whether a cluster is that of the running instance."""
    from podpass.cli.client import read_status

    status = read_status(DataDir(Path(chosen.data_dir))) if chosen.data_dir else None
    return status is not None and status["kubernetes"].get("server") == cluster.server
