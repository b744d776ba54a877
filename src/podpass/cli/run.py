"""`podpass run`."""

import asyncio
import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from podpass import names
from podpass.cli import options
from podpass.cli.completion_values import complete_namespaces, complete_service_accounts
from podpass.cli.env import instance_environment
from podpass.cli.output import print_message
from podpass.errors import Error, UsageError
from podpass.lab.data.datadir import DataDir
from podpass.lab.data.environment import MARKER
from podpass.lab.host.proxy_support import find_proxy_warning

if TYPE_CHECKING:
    from podpass.lab.host.host_identity import RequestedIdentity

ADMIN = "admin"
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127  # as in a shell


token_seconds_option = click.option(
    "--token-seconds",
    type=click.IntRange(1),
    metavar="SECONDS",
    help="Lifetime of the tokens of a job of a pipeline.  [default: that of the platform, 5 to 120 minutes]",
)


class CannotRun(Error):
    """The command cannot be started."""

    code = "cannot_run"
    exit_code = _NOT_EXECUTABLE


class CommandNotFound(CannotRun):
    """The command does not exist."""

    code = "command_not_found"
    exit_code = _NOT_FOUND
    hint = "check the spelling of the command after --, and PATH"


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@options.data_dir
@click.option(
    "--as",
    "identity",
    metavar="SERVICEACCOUNT",
    shell_complete=complete_service_accounts,
    help="Run as pods with this ServiceAccount (NAME or NAMESPACE/NAME), as a job of a pipeline"
    " (github:OWNER/REPO:ref:refs/heads/main), or as `admin`: the administrator of the instance.",
)
@click.option(
    "--namespace",
    "-n",
    metavar="N",
    shell_complete=complete_namespaces,
    help="Namespace of the ServiceAccount.  [default: default]",
)
@token_seconds_option
@click.option("--quiet", "-q", is_flag=True, help="Do not print the identity of the command.")
@click.argument("words", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    data_dir: DataDir,
    identity: str | None,
    namespace: str | None,
    token_seconds: int | None,
    quiet: bool,
    words: tuple[str, ...],
) -> None:
    """Run one command with the environment variables of `podpass env`.

    Without --as, only az is signed in, as the administrator of the instance; other commands have the
    identity of their own variables, such as AZURE_CLIENT_ID with AZURE_CLIENT_SECRET, or none. With --as,
    the command has the variables that the webhook injects into pods of the ServiceAccount, and the token file
    is renewed while the command runs; or those of a job of a pipeline, with your own AZURE_CLIENT_ID and
    AZURE_TENANT_ID. kubectl is always the administrator of the cluster.

    The command replaces the podpass process: podpass exits with its exit code, and signals reach it
    directly. A command that does not exist exits with 127, one that cannot be executed with 126.
    """
    if namespace is not None and (identity in (None, ADMIN) or is_job(identity)):
        raise UsageError(
            "--namespace is only for a ServiceAccount", hint="add --as SERVICEACCOUNT, or omit it"
        )
    check_token_seconds(identity, token_seconds)
    own = options.environ()
    values = instance_environment(data_dir)
    check_found(words[0], own.get("PATH", os.defpath))
    if quiet is False and own.get(MARKER, values[MARKER]) != values[MARKER]:
        print_message(
            f"podpass: this shell uses the instance in {own[MARKER]}; the command uses {data_dir.root}"
        )
    try:
        changed, description = _choose_identity(
            data_dir, identity, namespace or "default", words, own, token_seconds
        )
    except OSError as exc:
        raise CannotRun(
            f"cannot write to {data_dir.root}: {exc.strerror}", hint="free space on the disk"
        ) from exc
    if not quiet:
        print_message(f"podpass: identity of the command: {description}")
    environment = {**select_own_variables(own, identity), **values, **changed}
    if warning := find_proxy_warning(words, environment):
        print_message(warning)
    execute(words, environment)


def _choose_identity(
    data_dir: DataDir,
    identity: str | None,
    namespace: str,
    words: tuple[str, ...],
    own: Mapping[str, str],
    token_seconds: int | None,
) -> tuple[dict[str, str], str]:
    """Return the variables of the chosen identity, and its description."""
    if identity is not None and is_job(identity):
        variables = start_job(data_dir, identity, str(token_seconds or ""))
        return {**sign_out(data_dir)[0], **variables}, describe_job(identity)
    if identity is not None and identity != ADMIN:
        return _use_service_account(data_dir, identity, namespace)
    if uses_sign_in(identity, words):
        return {}, describe_sign_in(data_dir)
    return sign_out(data_dir)[0], describe_own(own)


def uses_sign_in(identity: str | None, words: tuple[str, ...]) -> bool:
    """Return whether the command uses the sign-in of az."""
    return identity == ADMIN or (identity is None and _is_az(words))


def describe_sign_in(data_dir: DataDir) -> str:
    """Describe the user who is signed in to az."""
    from podpass.lab.data import azure_config

    name = azure_config.signed_in_name(data_dir.path("azure"))
    return f"{name}, the sign-in of az" if name else "none, because az is signed out"


def describe_own(own: Mapping[str, str]) -> str:
    """Describe the identity that the user's own variables choose."""
    from podpass.lab.host.host_identity import describe_identity

    return describe_identity(own) or (
        "none; pass --as SERVICEACCOUNT for the identity of a pod, or --as admin"
    )


def _is_az(words: tuple[str, ...]) -> bool:
    return Path(words[0]).name == "az" or words[1:3] == ("-m", "azure.cli")


def sign_out(data_dir: DataDir) -> tuple[dict[str, str], Path]:
    """Return the variables that hide the sign-in of az, and the private folder of the command.

    `DefaultAzureCredential` would use that sign-in, and a missing identity would look like success.
    """
    from podpass.lab.data import azure_config
    from podpass.lab.host import host_token

    folder = host_token.create_folder(data_dir, os.getpid())
    azure_config.create_signed_out(folder / "azure")
    return {"AZURE_CONFIG_DIR": str(folder / "azure")}, folder


def is_job(identity: str | None) -> bool:
    """Return whether the name is that of a job of a pipeline."""
    # A ServiceAccount has a colon only in the form of a subject.
    return identity is not None and ":" in identity and not identity.startswith("system:")


def check_token_seconds(identity: str | None, token_seconds: int | None) -> None:
    """Check that a lifetime is given only for a job of a pipeline. Raises UsageError."""
    if token_seconds is not None and not is_job(identity):
        raise UsageError(
            "--token-seconds is only for a job of a pipeline", hint="add --as JOB, or omit it"
        )


def start_job(data_dir: DataDir, job: str, seconds: str) -> dict[str, str]:
    """Return the variables of a job of a pipeline."""
    from urllib.parse import urlencode

    from podpass.cli.client import call_control

    query = urlencode({"job": job, "seconds": seconds})
    return call_control(data_dir, "POST", f"/pipelines/jobs?{query}")


def describe_job(job: str) -> str:
    """Describe the identity of a job."""
    return f"the pipeline job {job}"


def _use_service_account(
    data_dir: DataDir, text: str, namespace: str
) -> tuple[dict[str, str], str]:
    """Request the token of a ServiceAccount, keep it valid, and return the variables of its pods."""
    from podpass.cli.client import check_has_cluster, require_status
    from podpass.kubernetes.client import KubeClient
    from podpass.lab.host import host_identity, host_token

    account = host_identity.parse_account(text, namespace, "NAME with -n NAMESPACE")
    check_has_cluster(data_dir, require_status(data_dir))
    identity = asyncio.run(
        host_identity.request_identity(
            lambda: KubeClient.from_kubeconfig(data_dir.admin_kubeconfig), account
        )
    )
    signed_out, folder = sign_out(data_dir)
    token_file = write_token(folder, identity)
    host_token.start_refresher(folder, identity.issued, token_file, identity.renew)
    variables = {**identity.variables, names.ENV_TOKEN_FILE: str(token_file)}
    return {**signed_out, **variables}, identity.description


def write_token(folder: Path, identity: "RequestedIdentity") -> Path:
    """Write the token of an identity into the private folder of the command; return its file."""
    from podpass import files

    token_file = folder / Path(names.TOKEN_PATH).name
    files.write_private(token_file, identity.issued.token.reveal().encode())
    return token_file


def select_own_variables(own: Mapping[str, str], identity: str | None) -> dict[str, str]:
    """Return the user's own variables: with --as, those that choose another identity are removed.

    A job keeps the client ID and the tenant ID, which its user sets in the definition of the pipeline too.
    """
    from podpass.lab.host.host_identity import without_identity

    if identity is None:
        return dict(own)
    kept = {names.ENV_CLIENT_ID, names.ENV_TENANT_ID} if is_job(identity) else set()
    return {**without_identity(own), **{name: own[name] for name in kept & own.keys()}}


def check_found(word: str, path: str) -> None:
    """Check that the command exists, before a token is requested for it. Raises CommandNotFound."""
    folders = [""] if os.sep in word else path.split(os.pathsep)
    for folder in folders:
        with suppress(OSError):
            if Path(folder, word).exists():
                return
    raise CommandNotFound(f"cannot run {word}: command not found")


def execute(words: tuple[str, ...], environment: dict[str, str]) -> None:
    """Replace this process by the command. Raises CannotRun."""
    try:
        # The command replaces this process, so that signals and the exit code need no forwarding.
        os.execvpe(words[0], words, environment)  # noqa: S606 the user chose the command
    except OSError as exc:
        hints = {
            errno.EACCES: "make it executable: chmod +x FILE",
            errno.ENOENT: "install the interpreter that its first line names",
            errno.ENOEXEC: "begin the script with a line such as #!/bin/sh",
        }
        hint = hints.get(exc.errno or 0, CommandNotFound.hint)
        raise CannotRun(f"cannot run {words[0]}: {exc.strerror}", hint=hint) from exc
