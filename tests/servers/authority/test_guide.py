"""The commands of the guide are executed; only ports and the cluster differ."""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from podpass.exchange.errors import catalogue
from tests.ports import free_port
from tests.servers.authority.issuer import Issuer

pytestmark = pytest.mark.processes

PAGE = Path(__file__).parents[3] / "docs" / "guides" / "self-host.md"
BLOCK = re.compile(r"<!-- run(?:: (\w+))? -->\n```sh\n(.*?)```", re.DOTALL)
PORTS = ("8443", "8444", "8095")
# The cluster from which `kubectl create token` gets its token.
KUBECTL = """#!{python}
import sys
print(open("{folder}/" + sys.argv[3] + ".token").read())
"""


@dataclass
class Reader:
    """A reader who runs the commands of the page in one shell and one directory."""

    folder: Path
    environ: dict[str, str]
    text: str = "set -euo pipefail\n"
    behind: subprocess.Popen[bytes] | None = None

    def type(self, block: str) -> str:
        """Run a block in the same shell as the blocks before it."""
        exports = re.findall(r"^(?:export )?[A-Z_]+=(?!\$\().*$", block, re.MULTILINE)
        done = subprocess.run(
            ["bash", "-c", self.text + block],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        self.text += "\n".join(exports) + "\n"
        return done.stdout

    def leave_running(self, block: str) -> None:
        with (self.folder / "stderr").open("w") as errors:
            self.behind = subprocess.Popen(
                ["bash", "-c", self.text + "exec " + block],
                cwd=self.folder,
                env=self.environ,
                stderr=errors,
            )

    def type_until(self, block: str) -> None:
        for _ in range(200):
            done = subprocess.run(
                ["bash", "-c", block], env=self.environ, capture_output=True, check=False
            )
            if done.returncode == 0:
                return
            time.sleep(0.1)
        pytest.fail((self.folder / "stderr").read_text())


@pytest.fixture
def reader(ca: trustme.CA, tmp_path: Path) -> Iterator[Reader]:
    if shutil.which("curl") is None:
        pytest.skip("curl is not on this machine")
    folder = tmp_path / "try"
    tools = tmp_path / "bin"
    folder.mkdir()
    tools.mkdir()
    kubectl = tools / "kubectl"
    kubectl.write_text(KUBECTL.format(python=sys.executable, folder=tmp_path))
    kubectl.chmod(kubectl.stat().st_mode | stat.S_IXUSR)
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    with Issuer(tmp_path / "issuer", ca) as issuer:
        audience = ["api://my-authority"]
        for namespace, account in (("default", "web"), ("ops", "admin")):
            token = issuer.token(namespace, account, aud=audience)
            (tmp_path / f"{account}.token").write_text(token)
        environ = {
            **os.environ,
            "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PODPASS_DATA_DIR": str(tmp_path / "no-instance"),
            # The issuer of the test is on this machine, so it is allowed like those on private networks.
            "PODPASS_AUTHORITY_PRIVATE_ISSUER": "127.0.0.0/8",
            "PODPASS_AUTHORITY_ISSUER_CA_FILE": str(tmp_path / "ca.pem"),
            "TEST_ISSUER": issuer.url,
        }
        reader = Reader(folder=folder, environ=environ)
        yield reader
        if reader.behind is not None:
            reader.behind.send_signal(signal.SIGTERM)
            assert reader.behind.wait(30) == 0


def _blocks() -> list[tuple[str, str]]:
    text = PAGE.read_text()
    text = re.sub(r"^ISSUER=.*$", "ISSUER=$TEST_ISSUER", text, flags=re.MULTILINE)
    for port in PORTS:
        text = text.replace(f":{port}", f":{free_port()}")
    return BLOCK.findall(text)


def test_commands_of_guide_succeed(reader: Reader) -> None:
    printed = ""
    blocks = _blocks()
    assert len(blocks) >= 9
    for how, block in blocks:
        if how == "background":
            reader.leave_running(block)
        elif how == "until":
            reader.type_until(block)
        else:
            printed += reader.type(block)
    assert "identity web created" in printed
    assert "administrator ops created" in printed
    assert "admitted 77777777-8888-4999-8aaa-bbbbbbbbbbbb" in printed
    assert '"orders"' in (reader.folder / "applications.json").read_text()
    assert (reader.folder / "authority.backup").stat().st_size > 1000


def test_names_in_guide_exist() -> None:
    text = PAGE.read_text()
    codes = {int(code) for code in re.findall(r"AADSTS(\d+)", text)}
    assert codes <= set(catalogue.TABLE)
    root = PAGE.parents[2]
    assert not [
        name for name in re.findall(r"deploy/[\w./-]+\w", text) if not (root / name).exists()
    ]
    flags = set(re.findall(r"`(--[a-z-]+)", text))
    help_text = subprocess.run(
        [sys.executable, "-m", "podpass.cli", "authority", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    elsewhere = {"--retire", "--at-once", "--audience", "--service-account-issuer"}
    assert not [flag for flag in flags - elsewhere if flag not in help_text]
