"""`podpass cloud control`: what commands outside the pod ask the running cloud, in its pod."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import click

from podpass import names
from podpass.cli import options
from podpass.cli.client import call_control
from podpass.cli.output import print_output
from podpass.cli.run import start_job
from podpass.lab.data.datadir import DataDir


@click.command(hidden=True)
@options.data_dir
@click.argument("action", type=click.Choice(["info", "reset", "sign-in", "remove-demo", "job"]))
@click.argument("name", default="")
@click.argument("seconds", default="")
def command(data_dir: DataDir, action: str, name: str, seconds: str) -> None:
    """Print facts of the running cloud as JSON, or change it, for commands outside the pod.

    Only `podpass cloud env` and `run` use `sign-in` and `job`: the output contains a refresh token, or the
    tokens of a job.
    """
    actions: dict[str, Callable[[], dict[str, Any]]] = {
        "info": lambda: _read_info(data_dir),
        "reset": lambda: call_control(data_dir, "POST", "/reset"),
        "sign-in": lambda: _read_info(data_dir) | call_control(data_dir, "POST", "/sign-in"),
        "job": lambda: start_job(data_dir, name, seconds),
        "remove-demo": lambda: call_control(
            data_dir, "POST", f"/demo/remove?{urlencode({'name': name})}"
        ),
    }
    print_output(actions[action](), "json")


def _read_info(data_dir: DataDir) -> dict[str, Any]:
    status = call_control(data_dir, "GET", "/status")
    vaults = call_control(data_dir, "GET", "/vaults")["value"]
    storage = call_control(data_dir, "GET", "/storage")
    return {
        "tenant_id": status["tenant_id"],
        "subscription_id": status["subscription_id"],
        "issuer": status["kubernetes"]["issuer"],
        "vaults": [f"https://{each['name']}.{names.VAULT_SUFFIX}" for each in vaults],
        "storage": storage,
        "ca": data_dir.ca_file.read_text(),
    }
