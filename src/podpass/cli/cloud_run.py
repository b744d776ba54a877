"""`podpass cloud run`."""

import asyncio
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podpass import names
from podpass.cli import options
from podpass.cli.cloud_cluster import kubeconfig_option, namespace_option
from podpass.cli.completion_values import complete_accounts_of_all_namespaces
from podpass.cli.output import print_message
from podpass.cli.run import (
    ADMIN,
    check_found,
    check_token_seconds,
    describe_job,
    describe_own,
    describe_sign_in,
    execute,
    is_job,
    select_own_variables,
    sign_out,
    token_seconds_option,
    uses_sign_in,
    write_token,
)

if TYPE_CHECKING:
    from podpass.lab.data.datadir import DataDir
    from podpass.lab.host.forwarded_cloud import CloudTarget
    from podpass.lab.host.host_identity import Account, RequestedIdentity


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@kubeconfig_option
@namespace_option
@click.option(
    "--as",
    "identity",
    metavar="SERVICEACCOUNT",
    shell_complete=complete_accounts_of_all_namespaces,
    help="Run as pods with this ServiceAccount: NAME, NAME.NAMESPACE or NAMESPACE/NAME; as a job of a"
    " pipeline (github:OWNER/REPO:ref:refs/heads/main); or as `admin`: the administrator of the cloud.",
)
@token_seconds_option
@click.option("--quiet", "-q", is_flag=True, help="Do not print the identity of the command.")
@click.argument("words", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    kubeconfig: Path | None,
    namespace: str,
    identity: str | None,
    token_seconds: int | None,
    quiet: bool,
    words: tuple[str, ...],
) -> None:
    """Run one command of this machine against the installed cloud.

    While the command runs, a port of this machine is forwarded to the cloud through the API server, also
    after the cloud's pod is replaced. The command has the variables of `podpass cloud env`.

    Without --as, only az is signed in, as the administrator of the cloud. With --as SERVICEACCOUNT, the
    command has the variables that the webhook injects into pods, and its token is renewed while it runs. With
    --as JOB, it has the variables of a job of a pipeline.

    The command replaces the podpass process: podpass exits with its exit code, and signals reach it
    directly. A command that does not exist exits with 127, one that cannot be executed with 126.
    """
    from podpass.cli.cloud_host import build_environment, find_target, lock_folder
    from podpass.lab.host import forwarded_cloud
    from podpass.lab.host.proxy_support import find_proxy_warning

    check_token_seconds(identity, token_seconds)
    own = options.environ()
    check_found(words[0], own.get("PATH", os.defpath))
    job = identity if is_job(identity) else None
    account = None if job or identity in (None, ADMIN) else parse_account(str(identity))
    target = find_target(kubeconfig, namespace)
    data_dir = forwarded_cloud.locate(target, own)
    facts, requested = asyncio.run(_request(target, account))
    of_job = asyncio.run(_start_job(target, job, token_seconds)) if job else {}
    with lock_folder(data_dir):
        forwarded_cloud.write_files(data_dir, facts, own)
        signed_out, folder = sign_out(data_dir)
        changed, port = _start(data_dir, target.with_facts(facts), folder, requested)
    if requested is not None:
        description = requested.description
    elif job:
        description = describe_job(job)
    elif uses_sign_in(identity, words):
        signed_out, description = {}, describe_sign_in(data_dir)
    else:
        description = describe_own(own)
    if not quiet:
        print_message(f"podpass: identity of the command: {description}")
    environment = {
        **select_own_variables(own, identity),
        **build_environment(data_dir, target, port, kubeconfig),
        **signed_out,
        **changed,
        **of_job,
    }
    if warning := find_proxy_warning(words, environment):
        print_message(warning)
    execute(words, environment)


def parse_account(text: str) -> "Account":
    """Parse NAME, NAME.NAMESPACE, NAMESPACE/NAME, or system:serviceaccount:NAMESPACE:NAME.

    A name may contain dots, a namespace not: `NAMESPACE/NAME` is for a name with a dot.

    Raises UsageError.
    """
    from podpass.lab.host import host_identity

    name, dot, namespace = text.rpartition(".")
    if dot and not {"/", ":"} & set(text):
        text = f"{namespace}/{name}"
    return host_identity.parse_account(text, "default", "NAME, NAME.NAMESPACE")


async def _request(
    target: "CloudTarget", account: "Account | None"
) -> "tuple[dict[str, Any], RequestedIdentity | None]":
    from podpass.cli.cloud_host import read_facts
    from podpass.lab.host.host_identity import request_identity

    if account is None:
        return await read_facts(target), None
    facts, requested = await asyncio.gather(
        read_facts(target), request_identity(target.open_client, account)
    )
    return facts, requested


async def _start_job(target: "CloudTarget", job: str, seconds: int | None) -> dict[str, str]:
    """Return the variables of a job of a pipeline. Raises NotInstalled, KubeError, Error."""
    from podpass.cli.cloud_cluster import run_in_pod_json

    action = ["job", job] if seconds is None else ["job", job, str(seconds)]
    async with target.open_client() as client:
        return await run_in_pod_json(client, target.namespace, *action)


def _start(
    data_dir: "DataDir", target: "CloudTarget", folder: Path, requested: "RequestedIdentity | None"
) -> tuple[Mapping[str, str], int]:
    """Forward and renew the token while the command runs; return the identity's variables, and the port."""
    from podpass.lab.host import forwarded_cloud, host_token

    if requested is None:
        return {}, forwarded_cloud.start_companion(data_dir, target, folder)
    token_file = write_token(folder, requested)
    renew = partial(host_token.refresh, requested.issued, token_file, requested.renew)
    port = forwarded_cloud.start_companion(data_dir, target, folder, [renew])
    return {**requested.variables, names.ENV_TOKEN_FILE: str(token_file)}, port
