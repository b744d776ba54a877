"""`podpass cloud browser`."""

import asyncio
import os
from pathlib import Path

import click

from podpass.cli import options
from podpass.cli.cloud_cluster import kubeconfig_option, namespace_option
from podpass.cli.output import print_message


@click.command
@kubeconfig_option
@namespace_option
@click.option(
    "--program",
    metavar="PROGRAM",
    help="The browser: Chromium, or one based on it.  [default: the first one on PATH]",
)
@click.argument("url", metavar="[URL]", required=False)
def command(kubeconfig: Path | None, namespace: str, program: str | None, url: str | None) -> None:
    """Open a browser of this machine in which Azure's names are the installed cloud.

    For commands that open a browser, such as `az login`:

    \b
    export BROWSER="podpass cloud browser %s"

    The browser has a profile of its own, which trusts the CA of the cloud and uses the background process of
    `podpass cloud env`. Your own profile does not change. The command returns when the browser has started.

    It needs Linux, a browser that is a package of the distribution, not a Snap or Flatpak, and certutil.
    """
    from podpass.cli.cloud_host import find_target, lock_folder, read_facts
    from podpass.lab.host import browser, forwarded_cloud

    own = options.environ()
    path = own.get("PATH", os.defpath)
    if url is not None:
        browser.check_url(url)
    found = browser.find_program(program, path)
    target = find_target(kubeconfig, namespace)
    data_dir = forwarded_cloud.locate(target, own)
    facts = asyncio.run(read_facts(target))
    with lock_folder(data_dir):
        forwarded_cloud.write_trust(data_dir, facts, own)
        folder = browser.prepare_profile(data_dir, path)
        _, port = forwarded_cloud.start_background(data_dir, target.with_facts(facts))
        browser.start(browser.build_command(found, folder, port, url), folder, own)
    print_message(
        f"{found} uses the cloud of context {target.context};"
        " `podpass cloud env --stop` ends its connections"
    )
