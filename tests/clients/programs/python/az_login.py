"""Sign `az` in with the managed identity and read a secret with its token: CHECK... prints one result each.

CHECK is login, and may have `=CLIENT_ID`: then the secret is that of the second vault. The commands run in
one process, as `az interactive` runs them, because each start of `az` takes seconds.
"""

import io
import json
import os
import sys
import tempfile

import requests
from answer import emit
from azure.cli.core import __version__, get_default_cli


def az(*words: str) -> str:
    """Run a command; return what it printed."""
    printed = io.StringIO()
    if get_default_cli().invoke([*words, "--only-show-errors"], out_file=printed):
        raise RuntimeError(printed.getvalue())
    return printed.getvalue()


def read(client_id: str) -> str:
    # The option has another name since 2.69.
    option = "--client-id" if int(__version__.split(".")[1]) >= 69 else "--username"
    named = (option, client_id) if client_id else ()
    az("login", "--identity", "--allow-no-subscriptions", *named)
    token = az("account", "get-access-token", "--resource", "https://vault.azure.net")
    vault = "second-vault" if client_id else "journey-vault"
    answer = requests.get(
        f"https://{vault}.vault.azure.net/secrets/greeting?api-version=7.4",
        headers={"Authorization": f"Bearer {json.loads(token)['accessToken']}"},
        timeout=30,
    )
    return str(answer.json()["value"])


if __name__ == "__main__":
    emit(version=__version__)
    for check in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["AZURE_CONFIG_DIR"] = folder
            try:
                emit(**{check: read(check.partition("=")[2])})
            except (Exception, SystemExit) as exc:  # noqa: BLE001 any failure is the result
                emit(**{check: f"{type(exc).__name__}: {exc}"})
