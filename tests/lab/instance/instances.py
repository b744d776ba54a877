"""The command line on a data directory."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.instance import preloaded

CLIENT = "22222222-aaaa-4bbb-8ccc-000000000001"
SEED = f"""
identities:
  - name: web
    client_id: {CLIENT}
    federated_credentials:
      - {{name: web, issuer: cluster, subject: "system:serviceaccount:default:web"}}
vaults:
  - name: tools-vault
    secrets: {{greeting: hello}}
    access: [{{identity: web, role: Key Vault Secrets User}}]
"""


def overwrite(path: Path) -> None:
    """Overwrite a database file with garbage while a process has it open."""
    with closing(sqlite3.connect(path)) as other:
        # Otherwise the log has all pages, and the next checkpoint repairs the file.
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.write(os.urandom(path.stat().st_size))


@dataclass
class Podpass:
    """The command line on one data directory."""

    data_dir: Path

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "podpass.cli", *arguments]

    @property
    def environ(self) -> dict[str, str]:
        # The kubectl next to the interpreter, if the machine has none.
        path = f"{os.environ.get('PATH', os.defpath)}:{Path(sys.executable).parent}"
        return {**os.environ, "PATH": path, "PODPASS_DATA_DIR": str(self.data_dir)}

    def __call__(self, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
        """Run a command; its output must not contain a traceback."""
        environ = {**self.environ, **how.pop("env", {})}
        if how.keys() <= {"cwd", "input"}:
            given: str = how.get("input", "")
            done = preloaded.run(arguments, environ, cwd=how.get("cwd"), given=given)
        else:
            done = subprocess.run(
                self.command(*arguments),
                env=environ,
                capture_output=True,
                text=True,
                check=False,
                timeout=90,
                **how,
            )
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        return done

    def up(self, *arguments: str) -> dict[str, Any]:
        done = self("up", "--detach", "--port-base", "0", *arguments)
        assert done.returncode == 0, done.stderr
        return self.status()

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self("status", "-o", "json").stdout)
        return status
