"""The table of commands for `podpass --help`; a command's module is imported when it is called."""

import importlib
from difflib import get_close_matches
from pathlib import Path

import click

from podpass import __version__

SECTIONS: dict[str, dict[str, str]] = {
    "Local loop": {
        "up": "Start an instance on this machine",
        "status": "Show the status and the addresses of the instance",
        "console": "Print a one-time link to the console of the instance",
        "get": "Print one value of the instance, such as its tenant or issuer",
        "env": "Print environment variables that point clients at this instance",
        "run": "Run one command with the environment variables of `podpass env`",
        "down": "Stop the instance",
        "demo": "Follow one token from a pod to a vault secret",
        "tutorial": "Run the AKS tutorial with a released az",
    },
    "Directory and images": {
        "apply": "Apply a seed file to the running instance",
        "identity": "Show identities and their federated credentials",
        "vault": "Show key vaults",
        "image": "Manage the commands that run for container images",
        "audit": "Show the audit log",
    },
    "Cluster": {
        "webhook": "Run the admission webhook",
        "proxy": "Run the migration sidecar: answer IMDS token requests with tokens of Workload ID",
        "proxy-init": "Redirect a pod's requests to the metadata service to the sidecar, with iptables",
        "authority": "Run the token service for clusters without Entra",
        "issuer": "Run the issuer of a cluster: its keys, its published documents, their rotation",
        "manifests": "Print the Kubernetes objects of the chart, without Helm",
    },
    "Test cluster": {
        "cloud": "Give any cluster an Azure of its own: the cloud half of podpass, for tests",
    },
    "Workload identities": {
        "connect": "Let pods read the secrets of a key vault",
        "serviceaccount": "Create and delete workload identities: identity, credential, ServiceAccount, role",
        "jwks": "Print the JWKS of an issuer from PEM files",
        "azwi": "Run a command line of azure-workload-identity's azwi",
    },
    "Migration": {
        "migrate": "Find out which workloads can use workload identity, and what others need",
        "podidentity": "Generate manifests from the objects of pod identity",
    },
    "Backup": {
        "backup": "Write all stored data to one file",
        "restore": "Restore all data from a backup file",
    },
    "Troubleshooting": {
        "doctor": "Find out why a workload gets no token: the first problem, and its fix",
        "trace": "Show the hops of the tokens of a pod, from its admission to the resource",
        "explain": "Explain the text of an error, or a whole log: meaning, cause and resolution",
        "graph": "Show which ServiceAccounts can use which identity, and what each reaches",
        "lint": "Find federated credentials that Entra refuses, or that trust more than intended",
        "drift": "Find running pods that differ from what admission would give them now",
        "token": "Inspect a token",
    },
    "Shell": {
        "completion": "Print a completion script for your shell",
        "version": "Print version and commit, in the form of azure-workload-identity",
    },
}


# Short names of azwi's command line.
ALIASES = {"pi": "podidentity", "sa": "serviceaccount"}


class SuggestingGroup(click.Group):
    """A command group that suggests similar command names for an unknown one, or what its epilog says."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as exc:
            near = get_close_matches(args[0], self.list_commands(ctx))
            said = f"Did you mean {near[0]!r}?" if near else self.epilog
            if not said:
                raise
            raise click.UsageError(f"{exc.message} {said}", ctx) from exc


class LazyGroup(SuggestingGroup):
    """A command group that imports the module of a command when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 signature of click
        return [name for section in SECTIONS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        cmd_name = ALIASES.get(cmd_name, cmd_name)
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"podpass.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, rows in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(rows.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="To begin, run `podpass demo`, or run `podpass up` and then the commands that it prints.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, readable=False),
    metavar="D",
    envvar="PODPASS_DATA_DIR",
    help="Data directory of the instance; or PODPASS_DATA_DIR.  [default: $XDG_STATE_HOME/podpass]",
)
@click.version_option(__version__, "--version", "-V", message="podpass %(version)s")
def cli(data_dir: Path | None) -> None:
    """Microsoft Entra Workload ID, webhook and token service: pods get tokens without stored secrets."""
    del data_dir  # `options.data_dir` of the called command reads it
