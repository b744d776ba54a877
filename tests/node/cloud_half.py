"""The cloud half of the loop, on the host's side of the node's network.

It is an instance of podpass. Pods reach it by Azure's names at port 443 of the node's address. Nothing in
a pod is configured for podpass but the CA of its image.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podpass import names
from podpass.lab.gateway.direct_tls import choose_address
from tests.node.sandbox import Sandbox, SandboxError, Service, wait_until

# A zone also has all names below it.
ZONES = (*names.LOGIN_ALIASES, names.ARM_HOST, names.GRAPH_HOST, names.VAULT_SUFFIX)
_READY_SECONDS = 600


@dataclass(frozen=True, slots=True)
class CloudHalf:
    """A running instance of podpass."""

    sandbox: Sandbox
    service: Service
    status: dict[str, Any]

    @property
    def issuer(self) -> str:
        return str(self.status["kubernetes"]["issuer"])

    @property
    def issuer_keys(self) -> list[Path]:
        return sorted(Path(self.status["data_dir"], "keys", "issuer").glob("*.pem"))

    @property
    def ca(self) -> Path:
        return Path(self.status["ca_file"])

    def podpass(self, *arguments: str, given: str = "") -> str:
        """Run a command of podpass on the instance; return its output."""
        return str(_podpass(self.sandbox, *arguments, given=given).stdout)


def start_cloud_half(sandbox: Sandbox, seed: Path) -> CloudHalf:
    """Start an instance with a seed, and lead Azure's port at the node's address to it.

    Raises SandboxError.
    """
    data_dir = sandbox.folder / "cloud"
    up = ["up", "--port-base", "0", "--data-dir", str(data_dir), "--seed", str(seed)]
    service = sandbox.start("cloud", [sys.executable, "-m", "podpass.cli", *up])
    found: dict[str, Any] = {}

    def is_ready() -> bool:
        if sandbox.exit_code(service) is not None:
            raise SandboxError(f"the cloud half has exited: {service.log.read_text()[-2000:]}")
        done = _podpass(sandbox, "status", "-o", "json", check=False)
        if done.returncode == 0:
            found.update(json.loads(done.stdout))
        return bool(found.get("ready"))

    wait_until(is_ready, _READY_SECONDS, "the cloud half is ready")
    if not sandbox.network.has_ipv4:
        return CloudHalf(sandbox, service, found)  # it listens on IPv4 loopback only
    target = f"{choose_address(data_dir / 'hosts')}:443"
    for chain in ("PREROUTING", "OUTPUT"):
        rule = (
            f"iptables -t nat -A {chain} -d {sandbox.network.first.node} -p tcp --dport 443 -j DNAT"
        )
        sandbox.run(*rule.split(), "--to-destination", target)
    return CloudHalf(sandbox, service, found)


def _podpass(sandbox: Sandbox, *arguments: str, given: str = "", check: bool = True) -> Any:
    command = [sys.executable, "-m", "podpass.cli", *arguments]
    place = f"PODPASS_DATA_DIR={sandbox.folder / 'cloud'}"
    return sandbox.run("env", place, *command, given=given, check=check)
