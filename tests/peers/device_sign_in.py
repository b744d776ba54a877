"""Run a program that signs a user in with a device code, and confirm the code as the administrator."""

import os
import re
import subprocess
import sys

from tests.az.browser import SignInBrowser
from tests.journey.instance import Instance

_SHOWN = re.compile(r"page (https://\S+) .*code (\w+)")


def sign_in(instance: Instance, command: list[str]) -> str:
    """Run the program with `podpass run`; return its output. It shows the code on stderr."""
    # Programs store caches in the home directory.
    home = {"HOME": str(instance.data_dir.parent)}
    environ = {**os.environ, **home, "PODPASS_DATA_DIR": str(instance.data_dir)}
    run = [sys.executable, "-m", "podpass.cli", "run", "--", *command]
    with subprocess.Popen(run, env=environ, stdout=-1, stderr=-1, stdin=-3, text=True) as program:
        try:
            assert program.stderr is not None
            seen = ""
            for line in program.stderr:
                seen += line
                if found := _SHOWN.search(line):
                    confirm(instance, found[1], found[2])
                    break
            printed, talk = program.communicate(timeout=60)
        finally:
            program.kill()
    assert program.returncode == 0, seen + talk
    return printed


def confirm(instance: Instance, page: str, code: str) -> None:
    """Enter the code on its page, and sign in as the administrator."""
    admin, browser = instance.status["admin"], SignInBrowser(instance.status["ca_file"])
    browser.open(page)
    browser.fill(user_code=code, step="code")
    browser.fill(username=admin["username"], password=admin["password"], step="sign-in")
    assert "You are signed in" in browser.page
