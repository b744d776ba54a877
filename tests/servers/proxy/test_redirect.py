"""`podpass proxy-init` with the real iptables, in a network namespace of its own."""

import errno
import os
import sys
from pathlib import Path

import pytest

from podpass.imds.redirect_rules import Redirect
from podpass.servers.proxy import metadata_route
from podpass.servers.proxy.metadata_route import RouteFailed
from podpass.servers.proxy.redirect import NotInPod, RedirectFailed, check_in_pod, install
from tests.run_program import run_text
from tests.servers.proxy.namespace import Namespace

pytestmark = pytest.mark.processes

POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
WANTED = Redirect(metadata_ip="169.254.169.254", metadata_port=80, proxy_port=8000, proxy_uid=1501)


def test_second_run_changes_nothing(namespace: Namespace) -> None:
    first = namespace.podpass("proxy-init")
    assert first.returncode == 0, first.stderr
    rules = namespace.rules()
    second = namespace.podpass("proxy-init")
    assert (second.returncode, second.stdout) == (0, first.stdout)
    assert namespace.rules() == rules
    assert [rule for rule in rules if "AZWI" in rule] == first.stdout.splitlines()
    assert len([rule for rule in rules if rule.startswith("-A OUTPUT")]) == 1


def test_other_settings_replace_the_rules(namespace: Namespace) -> None:
    namespace.run("iptables", "-t", "nat", "-N", "MESH")
    namespace.run("iptables", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-j", "MESH")
    assert namespace.podpass("proxy-init").returncode == 0
    done = namespace.podpass("proxy-init", "--proxy-uid=7", PROXY_PORT="9000")
    assert done.returncode == 0, done.stderr
    rules = "\n".join(namespace.rules())
    assert "--to-ports 9000" in rules
    assert "--uid-owner 7" in rules
    assert "8000" not in rules
    assert "1501" not in rules
    assert "-A OUTPUT -p tcp -j MESH" in rules


METADATA_SERVICE = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"the machine's " + self.path.encode())
server = http.server.HTTPServer(("169.254.169.254", 80), Handler)
print(flush=True)
server.serve_forever()
"""
ASK = """
import os, sys, http.client
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
connection = http.client.HTTPConnection("169.254.169.254", timeout=60)
connection.request("GET", sys.argv[2])
print(connection.getresponse().read().decode())
"""


def test_requests_to_the_metadata_service_reach_the_sidecar(
    namespace: Namespace, tmp_path: Path
) -> None:
    """All requests are redirected, except those of the sidecar's user, which would return to it."""
    namespace.run("ip", "address", "add", "169.254.169.254/32", "dev", "lo")
    # This sidecar runs as root, because another user may not read the interpreter's folder.
    assert namespace.podpass("proxy-init", "--proxy-uid=0").returncode == 0
    (tmp_path / "token").write_text("x")
    pod = {
        "AZURE_TENANT_ID": "11111111-1111-4111-8111-111111111111",
        "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token"),
        "AZURE_AUTHORITY_HOST": "https://127.0.0.1:1/",
    }
    with (
        namespace.start("-c", METADATA_SERVICE) as machine,
        namespace.start("-m", "podpass.cli", "proxy", **pod),
    ):
        assert machine.stdout is not None
        machine.stdout.readline()
        assert namespace.podpass("proxy", "--probe").returncode == 0

        def ask(user: int, path: str) -> str:
            done = namespace.run("/usr/bin/python3", "-c", ASK, str(user), path)
            return done.stdout.strip() or done.stderr

        assert ask(1000, "/readyz") == "ok"
        assert ask(0, "/readyz") == "the machine's /readyz"
        # The sidecar forwards other paths, and its own request is not redirected to it again.
        assert ask(1000, "/metadata/instance") == "the machine's /metadata/instance"


def test_failing_rule_is_reported_with_the_message_of_iptables(namespace: Namespace) -> None:
    """The reference's script continues after a rule that fails, and succeeds."""
    done = namespace.run(
        "setpriv",
        "--bounding-set=-net_admin",
        "--inh-caps=-net_admin",
        *(sys.executable, "-m", "podpass.cli", "proxy-init"),
    )
    assert done.returncode == 1
    assert "podpass: `iptables -w 10 -t nat -" in done.stderr
    assert "needs runAsUser 0 and the capabilities NET_ADMIN and NET_RAW" in done.stderr
    assert not any("OUTPUT -d" in rule for rule in namespace.rules())


FAKE = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
  *-S*) printf '%s\\n' "-P OUTPUT ACCEPT" {rules} ;;
  *owner*) {owner} ;;
esac
"""


@pytest.mark.parametrize(
    ("owner", "message"),
    [
        ("echo 'xt_owner: no such extension' >&2; exit 2", "xt_owner: no such extension"),
        ("exit 4", "exit status 4"),
        ("exit 0", "iptables reported success, but a rule is not in effect: -N AZWI"),
    ],
)
def test_no_later_rule_is_tried_after_one_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str, message: str
) -> None:
    program, log = tmp_path / "iptables", tmp_path / "log"
    program.write_text(FAKE.format(log=log, rules="", owner=owner))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(RedirectFailed) as failed:
        install(WANTED)
    assert message in failed.value.message
    ran = log.read_text().splitlines()
    if owner != "exit 0":
        assert "--uid-owner 1501" in failed.value.message
        assert "--uid-owner 1501" in ran[-1]


def test_missing_iptables_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RedirectFailed, match="iptables is not installed"):
        install(WANTED)


def test_machine_and_host_network_are_refused(tmp_path: Path) -> None:
    """Fails if a command on a developer's machine changes its firewall."""
    with pytest.raises(NotInPod, match="this is not a pod: KUBERNETES_SERVICE_HOST is not set"):
        check_in_pod({}, tmp_path)
    check_in_pod(POD, tmp_path)
    for name in ("dev_weight", "netdev_budget"):
        (tmp_path / name).touch()
    with pytest.raises(NotInPod, match="is the network namespace of the machine") as refused:
        check_in_pod(POD, tmp_path)
    assert "hostNetwork" in refused.value.hint


def test_command_refuses_to_run_outside_a_pod() -> None:
    done = run_text(
        [sys.executable, "-m", "podpass.cli", "proxy-init"], env={"PATH": os.environ["PATH"]}
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "this is not a pod" in done.stderr


# The route to the metadata address; `test_ipv6.py` adds it in a network namespace.


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENODEV], ids=os.strerror)
def test_kernel_that_refuses_the_request_is_reported(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(_: str) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(metadata_route, "_has_route", lambda _: False)
    monkeypatch.setattr(metadata_route, "_add", refuse)
    with pytest.raises(RouteFailed, match=os.strerror(code)) as failed:
        metadata_route.ensure_route("169.254.169.254")
    assert ("NET_ADMIN" in failed.value.hint) is (code == errno.EPERM)
