"""The lifecycle of an instance: start, second start, refusal, complete stop."""

import errno
import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from podpass.cli import client, down, output
from podpass.http.server import bind
from podpass.lab.data import ports
from podpass.lab.data.datadir import DataDir
from podpass.lab.data.lock import lock_holder
from tests.lab.instance.instances import SEED, Podpass, overwrite
from tests.waiting import wait_until

pytestmark = pytest.mark.processes

PATIENCE_SECONDS = 30


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _used_ports(podpass: Podpass) -> list[int]:
    facts = json.loads((podpass.data_dir / "instance.json").read_text())
    assert set(facts["ports"]) == set(ports.SERVICES)
    return list(facts["ports"].values())


def _processes_of(podpass: Podpass) -> list[int]:
    """Find processes with the data directory in their environment or arguments."""
    mark = str(podpass.data_dir).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mark in text and _alive(int(entry.name)):
                found.append(int(entry.name))
    return found


def _check_nothing_is_left(podpass: Podpass) -> None:
    assert not _processes_of(podpass)
    assert lock_holder(podpass.data_dir / "lock") is None
    assert not (podpass.data_dir / "lock").exists()
    assert not (podpass.data_dir / "status.json").exists()
    for port in _used_ports(podpass):
        # Binding it would fail if it is the local port of a connection of another suite by now.
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def _foreground(podpass: Podpass, *arguments: str) -> subprocess.Popen[str]:
    """Start an instance in the foreground and wait for its ready message."""
    process = subprocess.Popen(
        podpass.command("up", "--port-base", "0", *arguments),
        env=podpass.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "podpass is ready\n"
    return process


def _wait(process: subprocess.Popen[str]) -> str:
    _, talk = process.communicate(timeout=PATIENCE_SECONDS)
    assert "Traceback" not in talk
    return talk


def test_status_contains_all_addresses(running: Podpass) -> None:
    status = running.status()
    assert status["ready"] is True
    assert status["data_dir"] == str(running.data_dir)
    assert status["kubernetes"]["kind"] == "embedded"
    assert status["kubernetes"]["issuer"].startswith("https://eastus.oic.prod-aks.azure.com/")
    assert status["kubernetes"]["webhook"].endswith("/mutate-v1-pod")
    facts = json.loads((running.data_dir / "instance.json").read_text())
    assert status["console"] == f"http://127.0.0.1:{facts['ports']['console']}"
    assert set(status["admin"]) == {"username", "password"}
    assert status["sandbox"] in ("bubblewrap", "namespaces", "rewrite")
    assert status["pod_network"] in ("pod-networks", "pod-addresses", "node-address")
    assert list(status["pids"]) == ["podpass"]
    for path in (status["ca_file"], status["kubernetes"]["kubeconfig"]):
        assert Path(path).is_absolute()
        assert Path(path).is_file()
    for url in ("gateway", "authority", "resource_manager", "graph", "vault"):
        assert not status[url].endswith("/")


def test_every_port_is_on_loopback(running: Podpass) -> None:
    """A client that reaches these ports can get tokens of every identity."""
    used = {f"{port:04X}" for port in _used_ports(running)}
    listening = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            if state == "0A" and address.rpartition(":")[2] in used:
                listening.add(address.rpartition(":")[0])
    assert listening == {"0100007F"}


def test_second_start_prints_the_running_instance_and_succeeds(running: Podpass) -> None:
    before = running.status()
    again = running("up", "--port-base", "0")
    assert again.returncode == 0
    assert "already running" in again.stderr
    assert before["gateway"] in again.stdout
    assert running.status() == before


def test_second_start_warns_about_ignored_options(running: Podpass) -> None:
    wanted = ["--kubernetes", "kube-apiserver", "--propagation-delay", "30", "--port-base", "0"]
    wanted += ["--no-webhook"]
    again = running("up", *wanted, env={"PODPASS_ASSERTION_ALGORITHM": "RS256"})
    assert again.returncode == 3
    assert "already running" in again.stderr
    for flag, value, runs in (
        ("--kubernetes", "kube-apiserver", "embedded"),
        ("--propagation-delay", "30", "0"),
        ("--assertion-algorithm", "RS256", "RS256,RS384,RS512"),
    ):
        assert f"{flag} {value} is ignored: the instance runs with {flag} {runs}\n" in again.stderr
    assert "--no-webhook is ignored: the instance runs without it\n" in again.stderr
    assert "--port-base" not in again.stderr
    assert "podpass down`, then `podpass up` with them" in again.stderr
    for same in (["up"], ["up", "--port-base", "0"], ["up", "--kubernetes", "embedded"]):
        done = running(*same)
        assert done.returncode == 0
        assert done.stderr.splitlines() == [f"an instance is already running in {running.data_dir}"]


def test_second_start_prints_its_status_and_ignored_options_as_json(
    running: Podpass, tmp_path: Path
) -> None:
    seed = tmp_path / "more.yaml"
    seed.write_text("identities:\n  - name: second-start-json\n")
    again = running("up", "-o", "json", "--propagation-delay", "30", "--seed", str(seed))
    assert again.returncode == 3
    document = json.loads(again.stdout)
    assert document.pop("started") is False
    (line,) = document.pop("ignored")
    assert line.startswith("--propagation-delay 30 is ignored")
    assert document.pop("console_link").startswith(document["console"])
    assert document == running.status()


def test_second_start_applies_its_seed_to_the_running_instance(
    running: Podpass, tmp_path: Path
) -> None:
    seed = tmp_path / "more.yaml"
    seed.write_text("identities:\n  - name: second-start\n")
    assert running("up", "--seed", str(seed)).returncode == 0
    listed = json.loads(running("identity", "list", "-o", "json").stdout)
    assert "second-start" in [row["name"] for row in listed]


def test_concurrent_start_waits_for_the_first_start(podpass: Podpass) -> None:
    processes = [
        subprocess.Popen(
            podpass.command("up", "--detach", "--port-base", "0"),
            env=podpass.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    outcomes = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outcomes
    # Each gets a link of its own.
    assert len({re.sub("/open/[^ ]+", "", out) for out, _ in outcomes}) == 1
    assert podpass("down").returncode == 0
    _check_nothing_is_left(podpass)


def test_instances_run_side_by_side(podpass: Podpass, running: Podpass) -> None:
    other = podpass.up()
    assert other["kubernetes"]["issuer"] != running.status()["kubernetes"]["issuer"]
    assert not set(_used_ports(podpass)) & set(_used_ports(running))
    podpass("down")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_stops_the_instance_completely(podpass: Podpass, number: signal.Signals) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("the tests themselves run under nohup, and so does what they start")
    process = _foreground(podpass)
    process.send_signal(number)
    assert "stopped" in _wait(process)
    assert process.returncode == 0
    _check_nothing_is_left(podpass)


def test_down_returns_after_the_instance_has_stopped_completely(podpass: Podpass) -> None:
    pid = podpass.up()["pids"]["podpass"]
    assert podpass("down").returncode == 0
    assert not _alive(pid)
    _check_nothing_is_left(podpass)
    again = podpass("down")
    assert (again.returncode, "no instance is running" in again.stderr) == (0, True)


def test_down_reports_that_it_waits_and_then_kills_the_instance(
    podpass: Podpass, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = podpass.up()["pids"]["podpass"]
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(down, "_STOP_TIMEOUT_SECONDS", 3.0)
    monkeypatch.setattr(output, "_NOTICE_SECONDS", 0)
    said = CliRunner().invoke(down.command, ["--data-dir", str(podpass.data_dir)]).stderr
    assert "waiting for the instance to exit, for up to 3 seconds" in said
    assert "it did not exit within 3 seconds and was killed" in said
    assert not _alive(pid)


def test_down_stops_an_instance_with_open_connections(podpass: Podpass) -> None:
    status = podpass.up()
    watching = subprocess.Popen(
        podpass.command("run", "--", "kubectl", "get", "ns", "--watch"),
        env=podpass.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    port = int(status["gateway"].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as idle:
        idle.sendall(b"CONNECT login.microsoftonline.com:443 HTTP/1.1\r\n\r\n")
        assert idle.recv(100).startswith(b"HTTP/1.1 200")
        assert watching.stdout is not None
        watching.stdout.readline()
        assert podpass("down").returncode == 0
    watching.kill()
    watching.communicate()
    _check_nothing_is_left(podpass)


@pytest.fixture
def never_ready(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which the start hangs at etcd."""
    for name in ("etcd", "kube-apiserver"):
        (tmp_path / name).write_text("#!/bin/sh\nexec sleep 1000\n")
        (tmp_path / name).chmod(0o755)
    return {"KUBEBUILDER_ASSETS": str(tmp_path), "PODPASS_KUBERNETES": "kube-apiserver"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signal_during_the_start_stops_the_started_parts(
    podpass: Podpass, never_ready: dict[str, str], number: signal.Signals, code: int
) -> None:
    process = subprocess.Popen(
        podpass.command("up", "--port-base", "0"),
        env={**podpass.environ, **never_ready},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    process.stderr.readline()  # the first part has started, the others have not
    process.send_signal(number)
    out, talk = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == code
    assert "ready" not in out
    assert "Traceback" not in talk
    assert ("interrupted" in talk) is (code == 130)
    _check_nothing_is_left(podpass)


def test_killed_instance_restarts_with_the_same_ports_and_identity(podpass: Podpass) -> None:
    seed = podpass.data_dir.parent / "seed.yaml"
    seed.write_text(SEED)
    before = podpass.up("--seed", str(seed))
    podpass("run", "--", "kubectl", "create", "serviceaccount", "kept")
    account = [
        *("run", "--", "kubectl", "get", "serviceaccount", "kept"),
        *("-o", "jsonpath={.metadata.uid}"),
    ]
    uid = podpass(*account).stdout
    token = podpass("run", "--", "kubectl", "create", "token", "kept").stdout
    listed = podpass("identity", "list", "-o", "json").stdout
    os.kill(before["pids"]["podpass"], signal.SIGKILL)
    after = podpass.up()  # while the killed process may still hold its lock
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"pids"}
    assert uid
    assert podpass(*account).stdout == uid
    assert podpass("identity", "list", "-o", "json").stdout == listed
    mine = podpass(
        "run", "--", "kubectl", "--token", token.strip(), *_anonymous(after), "auth", "whoami"
    )
    assert "system:serviceaccount:default:kept" in mine.stdout
    podpass("down")
    _check_nothing_is_left(podpass)


def _anonymous(status: dict[str, Any]) -> list[str]:
    """Return kubectl flags that use only the token: a client certificate would take precedence."""
    server, authority = status["kubernetes"]["server"], status["ca_file"]
    return ["--kubeconfig", "/dev/null", "--server", server, "--certificate-authority", authority]


def test_port_in_use_is_reported_and_nothing_keeps_running(podpass: Podpass) -> None:
    with bind("127.0.0.1", 0) as taken:
        base = taken.getsockname()[1] - 4
        for arguments in ([], ["--detach"]):
            done = podpass("up", "--port-base", str(base), *arguments)
            assert done.returncode == 1
            assert "cannot listen on 127.0.0.1:" in done.stderr
            assert "--port-base" in done.stderr.splitlines()[-1]
    assert not _processes_of(podpass)
    assert lock_holder(podpass.data_dir / "lock") is None
    assert podpass.up()["ready"]
    podpass("down")


def test_every_command_refuses_another_data_version(podpass: Podpass) -> None:
    podpass.data_dir.mkdir(mode=0o700)
    (podpass.data_dir / "version").write_text("2\n")
    for arguments in (["up"], ["up", "--detach"], ["status"], ["down"], ["identity", "list"]):
        done = podpass(*arguments)
        assert done.returncode == 1
        assert "version '2'" in done.stderr
        assert "supports version 1" in done.stderr
    assert [path.name for path in podpass.data_dir.iterdir()] == ["version"]


@pytest.mark.parametrize("arguments", [["up"], ["up", "--detach"]])
def test_unwritable_data_dir_is_reported(podpass: Podpass, arguments: list[str]) -> None:
    podpass.data_dir.write_text("a file in the way")
    done = podpass(*arguments)
    assert done.returncode == 1
    assert f"cannot use {podpass.data_dir}" in done.stderr
    assert "--data-dir" in done.stderr.splitlines()[-1]
    assert podpass.data_dir.read_text() == "a file in the way"


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_data_dir_that_became_read_only_is_reported(podpass: Podpass) -> None:
    podpass.up()
    podpass("down")
    podpass.data_dir.joinpath("ca").chmod(0o500)
    podpass.data_dir.chmod(0o500)
    done = podpass("up", "--port-base", "0")
    podpass.data_dir.chmod(0o700)
    assert done.returncode == 1
    assert "cannot use" in done.stderr


def test_failed_part_is_reported_and_the_other_parts_are_stopped(podpass: Podpass) -> None:
    podpass.up()
    podpass("down")
    (podpass.data_dir / "ca" / "ca.key").write_text("damaged")
    for arguments in ([], ["--detach"]):
        done = podpass("up", "--port-base", "0", *arguments)
        assert done.returncode == 1
        assert "the CA in" in done.stderr
        assert "remove the folder" in done.stderr.splitlines()[-1]
    assert not _processes_of(podpass)


@pytest.mark.parametrize("arguments", [[], ["--detach"]])
def test_invalid_seed_is_refused_before_the_start(podpass: Podpass, arguments: list[str]) -> None:
    seed = podpass.data_dir.parent / "wrong.yaml"
    seed.write_text("identities:\n  - name: web\n    clientid: x\n")
    done = podpass("up", "--port-base", "0", "--seed", str(seed), *arguments)
    assert done.returncode == 2
    assert "clientid" in done.stderr
    assert "3" in done.stderr
    assert not podpass.data_dir.exists()


def test_a_seed_can_come_from_stdin(podpass: Podpass) -> None:
    done = podpass("up", "--detach", "--port-base", "0", "--seed", "-", input=SEED)
    assert done.returncode == 0, done.stderr
    assert "tools-vault" in podpass("vault", "list").stdout
    podpass("down")


def test_log_of_an_instance_contains_no_tokens_and_no_secrets(podpass: Podpass) -> None:
    podpass.up()
    token = podpass("run", "--", "kubectl", "create", "token", "default").stdout.strip()
    log = (podpass.data_dir / "podpass.log").read_text()
    facts = json.loads((podpass.data_dir / "instance.json").read_text())
    assert "instance_ready" in log
    for secret in (token, facts["control_token"], facts["admin"]["password"]):
        assert secret not in log
    assert not (podpass.data_dir / "podpass.err").read_text()


def test_several_damaged_keys_are_one_error_without_a_traceback(podpass: Podpass) -> None:
    """Fails if asyncio logs the errors of the other files, after the log file is closed or before."""
    podpass.up()
    podpass("down")
    for file in (podpass.data_dir / "keys").rglob("*"):
        if file.is_file():
            file.write_text("damaged")
    size = (podpass.data_dir / "podpass.log").stat().st_size
    done = podpass("up", "--port-base", "0", "--detach")
    assert done.returncode == 1
    assert "is not a numbered RSA private key" in done.stderr
    assert "Traceback" not in (podpass.data_dir / "podpass.err").read_text()
    log = (podpass.data_dir / "podpass.log").read_bytes()[size:].decode()
    assert "library_message" not in log


def test_instance_that_does_not_respond_is_not_ready(podpass: Podpass) -> None:
    """Fails if a lock and an old status file are enough to be ready."""
    pid = podpass.up()["pids"]["podpass"]
    for file in ("podpass.log", "podpass.err"):
        assert (podpass.data_dir / file).stat().st_mode & 0o777 == 0o600
    os.kill(pid, signal.SIGSTOP)
    try:
        for command, environ in (
            (["vault", "list"], {}),
            (["console"], {}),
            (["up", "--detach"], {}),
            (["doctor"], {}),
            (["doctor"], {"KUBECONFIG": str(podpass.data_dir / "kubeconfig")}),
            (["graph"], {}),
            (["status", "-o", "json"], {}),
        ):
            done = podpass(*command, env=environ)
            assert done.returncode == 1
            assert f"process {pid}, does not respond: a signal has stopped it" in done.stderr
            assert f"kill -CONT {pid}" in done.stderr
            assert "waiting for" not in done.stderr
        assert json.loads(done.stdout)["ready"] is False
    finally:
        os.kill(pid, signal.SIGCONT)
    assert podpass("status").returncode == 0


def test_doctor_of_a_killed_instance_names_the_start_with_its_data_dir(
    podpass: Podpass, tmp_path: Path
) -> None:
    os.kill(podpass.up()["pids"]["podpass"], signal.SIGKILL)
    wait_until(lambda: lock_holder(podpass.data_dir / "lock") is None)
    for config in ("", str(podpass.data_dir / "kubeconfig")):
        environ = {"KUBECONFIG": config, "HOME": str(tmp_path), "PODPASS_DATA_DIR": ""}
        done = podpass("doctor", "--data-dir", str(podpass.data_dir), env=environ)
        assert done.returncode != 0
        assert f"podpass up --detach --data-dir {podpass.data_dir}`" in done.stderr


def test_test_control_paths_are_refused_unless_the_instance_is_for_tests(podpass: Podpass) -> None:
    """The owner's token is not enough: no client can make a usual instance sign any claims."""
    podpass.up()
    for name in ("baseline", "clock", "fault", "recover", "reset", "rotate", "sign"):
        with pytest.raises(client.RequestRefused, match="the control API has no path"):
            client.call_control(DataDir(podpass.data_dir), "POST", f"/tests/{name}", b"{}")


def test_damaged_databases_of_a_running_instance_are_reported(
    podpass: Podpass, tmp_path: Path
) -> None:
    """The attack: a disk fault overwrites the files, and every page that a command needs is in memory."""
    backup = tmp_path / "backup.tar.gz"
    podpass.up()
    assert podpass.status()["damaged"] == []
    assert podpass("backup", "--with-keys", str(backup)).returncode == 0
    files = [podpass.data_dir / name for name in ("directory.db", "kubernetes.db")]
    for path in files:
        overwrite(path)
    wait_until(lambda: podpass("status").returncode != 0)
    done = podpass("status")
    assert f"podpass: {files[0]} cannot be used: file is not a database" in done.stderr
    assert f"podpass: cannot read {files[1]}: file is not a database" in done.stderr
    assert done.stderr.count("stop ") == 2
    assert "podpass restore FILE --replace" in done.stderr
    status = json.loads(podpass("status", "-o", "json").stdout)
    assert (status["ready"], [each["file"] for each in status["damaged"]]) == (
        False,
        [str(path) for path in files],
    )
    for command in ("identity", "vault"):
        listed = podpass(command, "list")
        assert listed.returncode == 1
        assert "the database is damaged" in listed.stderr
    log = (podpass.data_dir / "podpass.log").read_text()
    assert log.count('"database_check_failed"') == 2
    # The command of the hint works.
    assert podpass("down").returncode == 0
    assert podpass("restore", "--replace", "--trust", str(backup)).returncode == 0
    podpass.up()
    assert podpass.status()["ready"] is True


def test_list_of_a_damaged_database_whose_pages_are_in_memory_has_a_warning(
    podpass: Podpass,
) -> None:
    podpass.up()
    path = podpass.data_dir / "kubernetes.db"
    path.rename(path.with_suffix(".moved"))
    wait_until(lambda: podpass("identity", "list").stderr)
    done = podpass("identity", "list")
    assert done.returncode == 0
    assert f"podpass: {path} was removed or replaced while the cluster runs" in done.stderr
