"""`podpass env`."""

from collections.abc import Mapping
from typing import Any

import click

from podpass.cli import options
from podpass.cli.client import require_status
from podpass.cli.cluster import find_instance_kubeconfig
from podpass.lab.data.datadir import DataDir, load_config
from podpass.lab.data.environment import (
    SHELLS,
    as_json,
    client_configuration,
    format_exports,
    format_failure,
    host_environment,
)


class FailingEval(click.Command):
    """A command that prints lines whose `eval` fails if it cannot print the environment.

    Without output, `eval "$(podpass env)"` would succeed, and the next commands would use the cluster and the
    subscription of the user.
    """

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **extra)
        except click.UsageError:
            click.echo(format_failure(self.failed_configuration({}), "sh"), nl=False)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BaseException:
            if ctx.params["output"] == "shell":
                configuration = self.failed_configuration(ctx.params)
                click.echo(format_failure(configuration, ctx.params["shell"]), nl=False)
            raise

    def failed_configuration(self, params: Mapping[str, Any]) -> dict[str, str]:
        """Return the variables to export although the command failed."""
        return client_configuration(params.get("data_dir") or options.default_data_dir())


shell_option = click.option(
    "--shell",
    type=click.Choice(list(SHELLS)),
    default="sh",
    show_default=True,
    help="Syntax of the output.",
)


@click.command(cls=FailingEval)
@options.data_dir
@shell_option
@options.output("shell", "json")
def command(data_dir: DataDir, shell: str, output: str) -> None:
    """Print environment variables that point clients at this instance.

    \b
    sh, bash, zsh   eval "$(podpass env)"
    fish            podpass env --shell fish | source
    powershell      podpass env --shell powershell | Out-String | Invoke-Expression
    GitHub Actions  podpass env --shell github >> "$GITHUB_ENV"

    If no instance is running, the output makes `eval` fail, and kubectl and az of this shell reach no other
    cluster and subscription. PODPASS_ENV is set only if the environment is complete. az is signed in as the
    administrator of the instance; other programs that sign in with Azure CLI act as the administrator too.
    """
    values = instance_environment(data_dir)
    click.echo(as_json(values) if output == "json" else format_exports(values, shell), nl=False)


def instance_environment(data_dir: DataDir) -> dict[str, str]:
    """Return the environment variables for clients of the running instance. Raises NotRunning."""
    status = require_status(data_dir)
    port = load_config(data_dir).ports["gateway"]
    values = host_environment(data_dir, port, options.environ())
    # An instance without a cluster has no kubeconfig; kubectl keeps that of the user.
    if find_instance_kubeconfig(status) is None:
        del values["KUBECONFIG"]
    return values
