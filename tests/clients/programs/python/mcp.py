"""Read the secret with .NET's identity library in azmcp: AZMCP PACKAGE STYLE SCOPE [LATER].

azmcp chooses its own scope; the program prints the version of PACKAGE. It uses the protocol of editors:
JSON-RPC, one object per line. With LATER it continues after the assertion was replaced.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from answer import VAULT, assertion, emit, wait_for_another

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
STYLES = {"default": "prod", "workload": "WorkloadIdentityCredential"}


class Server:
    """An azmcp process that runs until the program ends."""

    def __init__(self, program: str, style: str) -> None:
        # Otherwise azmcp asks the user before it shows a secret.
        consent = "--dangerously-disable-elicitation"
        command = [program, "server", "start", "--tool", "keyvault_secret_get", consent]
        chosen = {"AZURE_TOKEN_CREDENTIALS": STYLES[style], "AZURE_MCP_COLLECT_TELEMETRY": "false"}
        # The server runs for seconds only: .NET would profile code that it never optimizes.
        chosen["DOTNET_TieredPGO"] = "0"
        self._child = subprocess.Popen(
            command,
            env={**os.environ, **chosen},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._asked = 0
        client = {"name": "podpass", "version": "1"}
        self.call("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=client)
        self._send({"method": "notifications/initialized"})

    def secret(self) -> str:
        vault = VAULT.removeprefix("https://").partition(".")[0]
        asked = {"vault": vault, "secret": "greeting", "subscription": SUBSCRIPTION}
        answer = self.call("tools/call", name="keyvault_secret_get", arguments=asked)
        text = answer["result"]["content"][0]["text"]
        found = json.loads(text)
        if found.get("status") != 200:
            sys.exit(text)
        return str(re.findall(r'"value": ?"([^"]*)"', text)[0])

    def call(self, method: str, **params: Any) -> Any:
        self._asked += 1
        self._send({"id": self._asked, "method": method, "params": params})
        assert self._child.stdout is not None
        for line in self._child.stdout:
            # stdout also has lines about its settings.
            answer = json.loads(line) if line.startswith("{") else {}
            if answer.get("id") == self._asked and "method" not in answer:
                return answer
        sys.exit("azmcp has exited")

    def _send(self, message: dict[str, Any]) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self._child.stdin.flush()

    def end(self) -> None:
        self._child.kill()
        self._child.wait()


def bundled_version(program: str, package: str) -> str:
    """Return the bundled version of a package; a .NET executable contains a list of its packages."""
    found = re.search(package.encode() + rb"/(\d+\.\d+\.\d+)", Path(program).read_bytes())
    return found[1].decode() if found else "none"


if __name__ == "__main__":
    azmcp, package, wanted, _, *rest = sys.argv[1:]
    first = assertion() if rest else ""
    server = Server(azmcp, wanted)
    emit(secret=server.secret(), version=bundled_version(azmcp, package))
    if rest:
        wait_for_another(first)
        emit(later=server.secret())
    server.end()
