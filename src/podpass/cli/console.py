"""`podpass console`."""

import html
import webbrowser

import click

from podpass.cli import options
from podpass.cli.client import call_control, check_has_cluster, require_status
from podpass.cli.output import print_message, print_output
from podpass.errors import Error
from podpass.files import write_private
from podpass.lab.data.datadir import DataDir

_OPENED_FILE = "console.html"


@click.command
@options.data_dir
@options.output("text", "json")
@click.option("--open", "opens", is_flag=True, help="Open the link in the default browser.")
def command(data_dir: DataDir, output: str, opens: bool) -> None:
    """Print a one-time link to the console of the instance.

    The console shows the loop in a browser: each token exchange with its hops, refusals with the command that
    fixes them, pods, identities, the trust graph and the audit log. The link works once, within 15 minutes,
    on this machine. The console only shows; it changes nothing.
    """
    link = create_link(data_dir)
    if output == "json":
        print_output({"link": link}, output)
    else:
        click.echo(link)
    if opens:
        _open(data_dir, link)


def create_link(data_dir: DataDir) -> str:
    """Return a new one-time link of the running instance.

    Raises NotRunning, NoCluster; Error if the instance does not respond.
    """
    check_has_cluster(data_dir, require_status(data_dir))
    return str(call_control(data_dir, "POST", "/console/links")["link"])


def _open(data_dir: DataDir, link: str) -> None:
    """Open a file that leads to the link: every user can read the arguments of a browser's process."""
    file = data_dir.path(_OPENED_FILE)
    target = html.escape(link)
    text = (
        '<!doctype html><meta charset="utf-8"><title>podpass console</title>'
        f'<meta http-equiv="refresh" content="0;url={target}"><p><a href="{target}">podpass console</a></p>'
    )
    write_private(file, text.encode())
    if not webbrowser.open(file.as_uri()):
        raise Error(
            "this machine has no browser that podpass can start",
            hint="open the link above yourself, or through ssh -L PORT:127.0.0.1:PORT with its port",
        )
    print_message("the link is open in the browser")
