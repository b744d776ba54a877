"""`podpass issuer`: keys, published documents and rotation for clusters that bring their own issuer."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from podpass.cli.commands import SuggestingGroup
from podpass.cli.invocation import environ
from podpass.cli.output import output_option, print_message, print_output
from podpass.clock import rfc3339, system
from podpass.errors import Error, UsageError

_DAY_SECONDS = 24 * 3600
_EXPLANATION = """Next steps:
1. Publish the key: podpass issuer publish --dir {dir}
2. Set the flags of the API server; docs/operate/own-cluster.md has them for kubeadm, kind, k3s and Talos.
3. Check everything: podpass issuer status --dir {dir}"""

folder_option = click.option(
    "--dir",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    envvar="PODPASS_ISSUER_DIR",
    metavar="D",
    help="Key folder of the issuer; or PODPASS_ISSUER_DIR.",
)


def complete_keys(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the key IDs of the key folder; none if it cannot be read."""
    from podpass.assertion.publishing.key_folder import KeyFolder

    folder = ctx.params.get("folder") or environ().get("PODPASS_ISSUER_DIR")
    if not folder:
        return []
    try:
        keys = KeyFolder(Path(folder)).read_state().keys
    except Error:
        return []
    return [CompletionItem(key.kid) for key in keys if key.kid.startswith(incomplete)]


@click.group(cls=SuggestingGroup)
def command() -> None:
    """Run the issuer of a cluster: its keys, its published documents, their rotation."""


@command.command("keygen")
@folder_option
@click.option("--issuer", required=True, metavar="URL", help="URL of the issuer, as in `iss`.")
@click.option(
    "--target",
    default="folder:published",
    show_default=True,
    metavar="T",
    help="Where the documents are published: folder:PATH, azure:https://ACCOUNT.blob.core.windows.net/$web,"
    " s3://BUCKET/PREFIX or command:PROGRAM.",
)
@click.option(
    "--signing",
    type=click.Choice(["files", "signer"]),
    default="files",
    show_default=True,
    help="Whether API servers read key files or use `podpass issuer signer`.",
)
@click.option(
    "--import",
    "imported",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="F",
    help="Begin with this private key, the one that the cluster signs with now.",
)
@click.option(
    "--bits",
    type=click.Choice(["2048", "3072", "4096"]),
    default="2048",
    show_default=True,
    help="Size of the key.",
)
@click.option(
    "--kubeconfig",
    "kubeconfigs",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False, resolve_path=True),
    metavar="F",
    help="Kubeconfig of an API server, to check its keys. Repeat it for each API server.",
)
@click.option(
    "--apply-command",
    default="",
    metavar="CMD",
    help="Command that distributes changed key files and restarts the API servers.",
)
@click.option(
    "--token-seconds",
    type=click.IntRange(600),
    default=_DAY_SECONDS,
    show_default=True,
    metavar="N",
    help="Longest lifetime of a token: --service-account-max-token-expiration.",
)
@click.option(
    "--cache-seconds",
    type=click.IntRange(0),
    default=_DAY_SECONDS,
    show_default=True,
    metavar="N",
    help="Time that verifiers may use cached keys.",
)
@click.option(
    "--refresh-seconds",
    type=click.IntRange(1),
    default=60,
    show_default=True,
    metavar="N",
    help="How often API servers fetch the keys of the external signer.",
)
def keygen(
    folder: Path,
    issuer: str,
    target: str,
    signing: str,
    imported: Path | None,
    bits: str,
    kubeconfigs: Sequence[Path],
    apply_command: str,
    **waits: int,
) -> None:
    """Create the key folder of an issuer, with its settings and its first key."""
    from podpass.assertion.publishing import setup
    from podpass.assertion.publishing.config import IssuerConfig
    from podpass.assertion.publishing.model import RotationWaits, SigningMode

    config = IssuerConfig(
        issuer=issuer,
        target=target,
        signing=SigningMode(signing),
        waits=RotationWaits(**waits),
        kubeconfigs=tuple(kubeconfigs),
        apply_command=tuple(_split(apply_command)),
    )
    key = setup.create(folder, config, imported=imported, bits=int(bits), now=system())
    click.echo(key.kid)
    print_message(_EXPLANATION.format(dir=shlex.quote(str(folder))))


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as exc:
        raise UsageError(f"--apply-command: {exc}", hint="close the quotes") from exc


@command.command("publish")
@folder_option
@click.option(
    "--replace",
    is_flag=True,
    help="Overwrite the documents of another issuer, and withdraw keys that this folder does not contain.",
)
def publish(folder: Path, replace: bool) -> None:
    """Publish the discovery document and the keys; repair them if they were changed."""
    from podpass.cli.issuer_run import publish_now

    name, count = publish_now(folder, replace=replace)
    click.echo(f"published {count} key{'' if count == 1 else 's'} to {name}")


@command.command("rotate")
@folder_option
@click.option(
    "--older-than",
    type=click.IntRange(0),
    metavar="DAYS",
    help="Begin a rotation only if the active key has signed for this many days; for a timer.",
)
@click.option("--wait", is_flag=True, help="Wait until the rotation has ended.")
@click.option(
    "--applied", is_flag=True, help="All API servers have been restarted with the changed files."
)
@click.option(
    "--leaked",
    multiple=True,
    metavar="KID",
    shell_complete=complete_keys,
    help="Withdraw this key as soon as possible, without the waits. Its tokens are refused.",
)
@click.option(
    "--accept-clock", is_flag=True, help="The clock was corrected: begin all waits again."
)
@output_option("text", "json")
def rotate(
    folder: Path,
    older_than: int | None,
    wait: bool,
    applied: bool,
    leaked: Sequence[str],
    accept_clock: bool,
    output: str,
) -> None:
    """Rotate the signing key, or continue a rotation.

    The command does all steps that are due and prints what the next one waits for; run it again after that
    time, or from a timer. It can be interrupted at any time: the next run continues with the same step.
    """
    from podpass.assertion.publishing.rotation import RotationRequest
    from podpass.cli.issuer_run import run_rotation

    request = RotationRequest(is_applied=applied, leaked=leaked, accept_clock=accept_clock)
    outcome = run_rotation(folder, request, older_than_days=older_than, wait=wait)
    if output == "json":
        print_output(
            {
                "done": outcome is None,
                "reason": outcome.reason if outcome else None,
                "until": rfc3339(outcome.until) if outcome else None,
                "kid": outcome.kid if outcome else None,
            },
            "json",
        )
    elif outcome is None:
        click.echo("the rotation is complete")
    else:
        when = "" if outcome.is_manual else f" until {rfc3339(outcome.until)}"
        click.echo(f"waiting{when}: {outcome.reason} ({outcome.kid})")
        if not outcome.is_manual:
            print_message("run `podpass issuer rotate` again after that time")


@command.command("status")
@folder_option
@click.option("--offline", is_flag=True, help="Do not fetch the documents from the issuer's URL.")
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="F",
    help="CA of the issuer's host instead of the system's.",
)
@output_option()
@click.pass_context
def status(
    ctx: click.Context, folder: Path, offline: bool, ca_file: Path | None, output: str
) -> None:
    """Compare the keys with what is published and what the API servers sign with.

    Exits with status 1 if there is a problem.
    """
    from podpass.cli.issuer_run import print_state, run_status

    report = run_status(folder, offline=offline, ca_file=ca_file)
    print_state(report, output)
    if report["problems"]:
        ctx.exit(1)


def _refuse_platforms(_: click.Context, __: click.Parameter, is_given: bool) -> None:
    if is_given:
        raise UsageError(
            "`podpass issuer serve` has the keys of a cluster, not those of a pipeline",
            hint="use `podpass up --pipelines github`; docs/develop/pipelines.md lists all platforms",
        )


@command.command("serve")
@click.option(
    *("--github", "--gitlab", "--terraform", "--azure-devops", "--pipelines"),
    is_flag=True,
    is_eager=True,
    hidden=True,
    expose_value=False,
    callback=_refuse_platforms,
)
@folder_option
@click.option(
    "--listen",
    default=":8080",
    show_default=True,
    metavar="ADDRESS",
    help="Address to listen on: HOST:PORT.",
)
@click.option(
    "--tls-cert-file", type=click.Path(path_type=Path), metavar="F", help="Certificate in PEM."
)
@click.option("--tls-key-file", type=click.Path(path_type=Path), metavar="F", help="Private key.")
def serve(folder: Path, listen: str, tls_cert_file: Path | None, tls_key_file: Path | None) -> None:
    """Serve the published documents of a folder over HTTP or HTTPS.

    For targets that are folders. Without a certificate, an ingress must add HTTPS.
    """
    from podpass.servers.issuer.issuer import run

    if (tls_cert_file is None) != (tls_key_file is None):
        raise UsageError("--tls-cert-file and --tls-key-file belong together", hint="pass both")
    run(folder, listen, tls_cert_file, tls_key_file)


@command.command("signer")
@folder_option
@click.option(
    "--socket",
    "socket_path",
    type=click.Path(path_type=Path),
    default="/run/podpass/signer.sock",
    show_default=True,
    metavar="F",
    help="Unix socket: --service-account-signing-endpoint of the API server.",
)
@click.option(
    "--metrics-addr",
    default="127.0.0.1:8098",
    show_default=True,
    metavar="ADDRESS",
    help="Address of /metrics, /readyz and /healthz; 0 turns it off.",
)
def signer(folder: Path, socket_path: Path, metrics_addr: str) -> None:
    """Sign tokens for the API server on this machine.

    It is the external signer (KEP-740) of Kubernetes 1.36 and newer: the API server has no private key and
    needs no restart in a rotation.
    """
    from podpass.servers.signer.signer import run

    run(folder, socket_path, metrics_addr)
