"""`podpass podidentity detect`, with the flags of `azwi podidentity detect`."""

import asyncio
from pathlib import Path

import click

from podpass.cli import options
from podpass.cli.output import escape_unprintable, print_message
from podpass.cli.token_expiration import FLAG, parse_token_expiration
from podpass.errors import UsageError
from podpass.kubernetes.paths import is_namespace_name

_NEXT_STEPS = """Next steps:
1. Install the webhook: chart `charts/podpass`, `podpass manifests`, or the workload identity add-on of AKS.
2. Create a federated credential for each ServiceAccount of these files.
3. Review the files, then apply them: kubectl apply -f FILE"""


def _check_namespace(_: click.Context, __: click.Parameter, value: str) -> str:
    if not is_namespace_name(value):
        raise click.BadParameter(f"{value!r} is not a valid namespace name")
    return value


@click.group
def command() -> None:
    """Generate manifests from the objects of pod identity."""


@command.command("detect")
@click.option(
    "--namespace",
    default="default",
    show_default=True,
    metavar="N",
    callback=_check_namespace,
    help="Namespace whose pod identities are converted.",
)
@click.option(
    "-o",
    "--output-dir",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="D",
    help="Directory for the generated files; it is created if it does not exist.",
)
@click.option(
    "-p",
    "--proxy-port",
    type=click.IntRange(1, 65535),
    default=8000,
    show_default=True,
    metavar="N",
    help="Port of the migration sidecar.",
)
@click.option(
    FLAG,
    "token_seconds",
    default="1h",
    show_default=True,
    metavar="DURATION",
    callback=parse_token_expiration,
    help="Lifetime of the ServiceAccount tokens, 1h to 24h.",
)
@click.option(
    "--tenant-id",
    default="",
    metavar="T",
    help="Tenant of the managed identities; written as an annotation if given.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="F",
    help="Kubeconfig of the cluster.  [default: KUBECONFIG, then ~/.kube/config]",
)
def detect(
    namespace: str,
    output_dir: Path,
    proxy_port: int,
    token_seconds: int,
    tenant_id: str,
    kubeconfig: Path | None,
) -> None:
    """Generate manifests for workload identity from the pod identities of a namespace.

    For each workload whose pods use a pod identity, it writes NAME-serviceaccount.yaml and NAME.yaml: the
    ServiceAccount with the client id of the identity, and the workload with the migration sidecar. It reads
    the cluster and changes nothing there. It never overwrites a file with another content.
    """
    from podpass.migration.podidentity import DetectOptions
    from podpass.migration.podidentity import detect as run

    chosen = DetectOptions(
        namespace=namespace,
        output_dir=output_dir,
        proxy_port=proxy_port,
        token_seconds=token_seconds,
        tenant_id=tenant_id,
    )

    async def work() -> None:
        from podpass.cli.cluster import connect

        async with connect(kubeconfig, options.environ()) as client:
            _create_folder(output_dir)
            result = await run(client, chosen)
        for warning in result.warnings:
            print_message(f"warning: {escape_unprintable(warning)}")
        if not result.files:
            print_message(f"no pod identity is in use in the namespace {namespace}")
            return
        for name in result.files:
            click.echo(output_dir / name)
        print_message(f"generated {len(result.files)} files in {output_dir}\n{_NEXT_STEPS}")

    asyncio.run(work())


def _create_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as exc:
        raise UsageError(
            f"cannot create the directory {folder}: {exc.strerror}",
            hint="choose another directory with --output-dir",
        ) from exc
