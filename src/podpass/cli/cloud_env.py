"""`podpass cloud env`."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from podpass.cli import options
from podpass.cli.cloud_cluster import kubeconfig_option, namespace_option
from podpass.cli.env import FailingEval, shell_option
from podpass.cli.output import print_message
from podpass.lab.data.environment import as_json, format_exports


class _FailingEval(FailingEval):
    """A FailingEval that does not change KUBECONFIG."""

    def failed_configuration(self, params: Mapping[str, Any]) -> dict[str, str]:  # noqa: ARG002
        from podpass.lab.host.forwarded_cloud import root

        return {"AZURE_CONFIG_DIR": str(root(options.environ()) / "none")}

    def invoke(self, ctx: click.Context) -> Any:
        if ctx.params["stop"]:
            return click.Command.invoke(self, ctx)
        return super().invoke(ctx)


@click.command(cls=_FailingEval)
@kubeconfig_option
@namespace_option
@shell_option
@click.option("--stop", is_flag=True, help="Stop the background process of this context instead.")
@options.output("shell", "json")
def command(kubeconfig: Path | None, namespace: str, shell: str, stop: bool, output: str) -> None:
    """Print environment variables that point clients of this machine at the installed cloud.

    \b
    sh, bash, zsh   eval "$(podpass cloud env)"
    fish            podpass cloud env --shell fish | source
    powershell      podpass cloud env --shell powershell | Out-String | Invoke-Expression

    A background process forwards a port of this machine to the cloud through the API server, also after the
    cloud's pod is replaced. It is one for each context, and runs until `podpass cloud env --stop`. az is
    signed in as the administrator of the cloud. kubectl keeps its kubeconfig.

    If the cloud is not installed or not ready, the output makes `eval` fail, and az of this shell reaches no
    other subscription.
    """
    from podpass.cli.cloud_host import build_environment, find_target, lock_folder, read_facts
    from podpass.lab.host import forwarded_cloud

    target = find_target(kubeconfig, namespace)
    data_dir = forwarded_cloud.locate(target, options.environ())
    if stop:
        is_stopped = data_dir.root.exists() and forwarded_cloud.stop_background(data_dir)
        what = "has stopped" if is_stopped else "does not run"
        print_message(f"the background process for context {target.context} {what}")
        return
    facts = asyncio.run(read_facts(target))
    with lock_folder(data_dir):
        forwarded_cloud.write_files(data_dir, facts, options.environ())
        pid, port = forwarded_cloud.start_background(data_dir, target.with_facts(facts))
    print_message(
        f"process {pid} forwards 127.0.0.1:{port} to the cloud of context {target.context};"
        " stop it with: podpass cloud env --stop"
    )
    values = build_environment(data_dir, target, port, kubeconfig)
    click.echo(as_json(values) if output == "json" else format_exports(values, shell), nl=False)
