"""The command line: help, exit codes, failures with a hint, and notices of an instance."""

import importlib
import json
import logging
import os
import pty
import queue
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import click
import pytest
import trustme
import yaml

from podpass import __version__
from podpass.cli import client, output
from podpass.cli.account_options import AccountOptions
from podpass.cli.azure_account import choose_kubeconfig
from podpass.cli.cluster import find_instance_kubeconfig
from podpass.cli.commands import SECTIONS, cli
from podpass.cli.main import run
from podpass.cli.pod_limits import describe_pods, mount_warning
from podpass.crypto.secret import Secret
from podpass.errors import Error, UsageError
from podpass.lab.data.datadir import DataDir
from tests.lab.instance.instances import CLIENT, Podpass
from tests.run_program import run_text

COMMANDS = {name: text for section in SECTIONS.values() for name, text in section.items()}

_HIDDEN, _SHOWN = b"\x1b[?25l", b"\x1b[?25h"  # the cursor of a terminal


def _all(
    command: click.Command | None = None, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """Yield all commands and groups."""
    found = command or cli
    yield path
    if isinstance(found, click.Group):
        ctx = click.Context(found)
        for name in found.list_commands(ctx):
            if name != "demo" or importlib.util.find_spec("podpass.cli.demo"):
                yield from _all(found.get_command(ctx, name), (*path, name))


@pytest.mark.parametrize("path", list(_all()), ids=" ".join)
def test_every_command_has_help(podpass: Podpass, path: tuple[str, ...]) -> None:
    done = podpass(*path, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: podpass " + " ".join(path))
    assert not done.stderr


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "demo"])
def test_summary_in_the_command_table_equals_the_command_help(name: str) -> None:
    """Help is printed without importing commands, so both texts must be equal."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert (command.help or "").splitlines()[0].rstrip(".") == COMMANDS[name]


def test_help_imports_no_command_and_no_large_library(podpass: Podpass) -> None:
    program = (
        "import sys; from podpass.cli.main import run; run(['--help']);"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = run_text([podpass.command()[0], "-c", program], check=True)
    loaded = set(done.stderr.split())
    heavy = {"asyncio", "aiohttp", "cryptography", "rich", "sqlalchemy", "uvicorn", "yaml", "json"}
    assert not loaded & heavy
    assert {name for name in loaded if name.startswith("podpass.cli.")} == {
        "podpass.cli.commands",
        "podpass.cli.main",
    }


def test_explain_imports_no_large_library_and_no_http_client(podpass: Podpass) -> None:
    program = (
        "import sys; from podpass.cli.main import run; run(['explain', 'AADSTS700213']);"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = run_text([podpass.command()[0], "-c", program], check=True)
    heavy = {"asyncio", "aiohttp", "cryptography", "http.client", "rich", "sqlalchemy", "ssl"}
    assert "AADSTS700213" in done.stdout
    assert not set(done.stderr.split()) & {*heavy, "subprocess", "uvicorn", "yaml"}


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version_is_printed(podpass: Podpass, flag: str) -> None:
    assert podpass(flag).stdout == f"podpass {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["no-such-command"], 2, "No such command"),
        (["staus"], 2, "No such command 'staus'. Did you mean 'status'?"),
        (["authority", "kesy"], 2, "Did you mean 'keys'?"),
        (["identity", "lst"], 2, "Did you mean 'list'?"),
        (["identity", "create", "web"], 2, "by `az identity create`, and by `podpass connect`"),
        (
            ["vault", "create", "x"],
            2,
            "created by a seed (`podpass apply`), by `az keyvault create`",
        ),
        (
            ["image", "pull", "nginx"],
            2,
            "`podpass image add NAME -- COMMAND` configures the program",
        ),
        (["--data-dri", "x", "up"], 2, "No such option"),
        (["up", "--no-such-option"], 2, "No such option"),
        (["up", "--port-base", "x"], 2, "--port-base"),
        (["up", "--port-base", "70000"], 2, "--port-base 70000"),
        (["up", "--kubernetes", "k3s"], 2, "--kubernetes k3s"),
        (["up", "--seed", "/no/such/file"], 2, "/no/such/file"),
        (["status"], 1, "no instance is running"),
        (["env"], 1, "no instance is running"),
        (["run", "--", "true"], 1, "no instance is running"),
        (["run"], 2, "Missing argument"),
        (["apply", "-f", "/no/such/file"], 2, "/no/such/file"),
        (["apply"], 2, "Missing option"),
        (["identity", "list"], 1, "no instance is running"),
        (["identity", "show", "web"], 1, "no instance is running"),
        (["vault", "list"], 1, "no instance is running"),
        (["image", "add", "name"], 2, "Missing argument"),
        (["image", "add", "name", "--"], 2, "Missing argument"),
        (["image", "add", "two words", "--", "true"], 2, "not a valid image name"),
        (["token", "inspect", "no-token"], 2, "neither a token nor a readable file"),
        (["completion", "tcsh"], 2, "'tcsh' is not one of"),
        (["status", "-o", "xml"], 2, "'xml' is not one of"),
        (["--data-dir"], 2, "requires an argument"),
    ],
)
def test_failure_has_its_exit_code_and_ends_with_a_hint(
    podpass: Podpass, arguments: list[str], code: int, words: str
) -> None:
    done = podpass(*arguments)
    assert done.returncode == code
    message, *rest = done.stderr.splitlines()
    assert message.startswith("podpass: ")
    assert words in message
    assert len(rest) == 1
    assert rest[0].startswith("  ")
    assert rest[0].strip()


def test_data_goes_to_stdout_and_messages_go_to_stderr(podpass: Podpass) -> None:
    done = podpass("status", "-o", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {
        "ready": False,
        "data_dir": str(podpass.data_dir),
        "log": str(podpass.data_dir / "podpass.log"),
    }
    assert "podpass up" in done.stderr


def test_unexpected_exception_prints_one_line_and_writes_the_traceback_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise ValueError("an error that no command handles")

    monkeypatch.setattr(cli, "main", fail)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    assert run(["status"]) == 1
    message, hint = capsys.readouterr().err.splitlines()
    assert message == "podpass: unexpected ValueError"
    (file,) = tmp_path.glob("podpass-*.traceback")
    assert str(file) in hint
    assert "an error that no command handles" in file.read_text()
    assert "Traceback" in file.read_text()


def test_traceback_file_is_private_and_contains_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = os.urandom(8).hex()

    def fail(arguments: list[str], **_options: object) -> None:
        password = arguments[-1]
        raise ValueError(f"no command handles {Secret(password)!r}")

    monkeypatch.setattr(cli, "main", fail)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    before = os.umask(0)
    try:
        assert run(["authority", "--password", secret]) == 1
    finally:
        os.umask(before)
    (file,) = tmp_path.glob("podpass-*.traceback")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "no command handles" in file.read_text()
    assert secret not in file.read_text() + capsys.readouterr().err


def test_debug_variable_prints_the_traceback(podpass: Podpass) -> None:
    done = run_text(podpass.command("env"), env={**podpass.environ, "PODPASS_DEBUG": "1"})
    assert "Traceback" in done.stderr
    assert done.returncode == 1


def test_closed_stdout_is_not_a_failure(running: Podpass) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        running.command("status", "-o", "json"),
        env=running.environ,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_data_dir_option_works_before_and_after_the_command(
    running: Podpass, tmp_path: Path
) -> None:
    environ = {"PODPASS_DATA_DIR": str(tmp_path / "other")}
    where = ["--data-dir", str(running.data_dir)]
    assert running(*where, "status", env=environ).returncode == 0
    assert running("status", *where, env=environ).returncode == 0
    assert running("status", env=environ).returncode == 1


def test_identity_list_contains_the_documented_members(running: Podpass) -> None:
    listed = json.loads(running("identity", "list", "-o", "json").stdout)
    web = next(row for row in listed if row["name"] == "web")
    assert web["client_id"] == CLIENT
    assert web["tenant_id"] == running.status()["tenant_id"]
    assert web["principal_id"]
    (credential,) = web["federated_credentials"]
    assert credential["issuer"] == running.status()["kubernetes"]["issuer"]
    assert credential["subject"] == "system:serviceaccount:default:web"
    assert credential["audiences"] == ["api://AzureADTokenExchange"]
    assert yaml.safe_load(running("identity", "list", "-o", "yaml").stdout) == listed
    table = running("identity", "list").stdout.splitlines()
    headings = ["NAME", "KIND", "GROUP", "CLIENT-ID", "PRINCIPAL-ID", "USED", "CREDENTIALS"]
    assert table[0].split() == headings
    assert table[1].split()[:3] == ["web", "managed-identity", "podpass"]


def test_identity_is_shown_by_name_or_client_id(running: Podpass) -> None:
    by_name = running("identity", "show", "web", "-o", "json").stdout
    assert running("identity", "show", CLIENT, "-o", "json").stdout == by_name
    assert "system:serviceaccount:default:web" in running("identity", "show", "web").stdout
    missing = running("identity", "show", "nobody")
    assert missing.returncode == 1
    assert "podpass identity list" in missing.stderr


def test_vaults_are_listed(running: Podpass) -> None:
    (vault,) = json.loads(running("vault", "list", "-o", "json").stdout)
    assert vault["name"] == "tools-vault"
    assert vault["uri"] == "https://tools-vault.vault.azure.net/"
    assert vault["secrets"] == 1
    header, row = running("vault", "list").stdout.splitlines()
    assert header.split() == ["NAME", "URI", "LOCATION", "SECRETS"]
    assert row.split()[-1] == "1"


def test_one_value_is_printed_for_scripts(running: Podpass) -> None:
    status = running.status()
    values = {
        "tenant": status["tenant_id"],
        "issuer": status["kubernetes"]["issuer"],
        "log": str(running.data_dir / "podpass.log"),
        "password": status["admin"]["password"],
    }
    for name, value in values.items():
        done = running("get", name)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{value}\n", "")


def test_get_without_an_instance_or_with_an_unknown_name_fails(podpass: Podpass) -> None:
    stopped = podpass("get", "tenant")
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert "no instance is running" in stopped.stderr
    unknown = podpass("get", "tenants")
    assert unknown.returncode == 2
    assert "'issuer'" in unknown.stderr


def test_status_names_the_log_file(running: Podpass) -> None:
    log = running.data_dir / "podpass.log"
    assert log.is_file()
    assert running.status()["log"] == str(log)
    (line,) = [line for line in running("status").stdout.splitlines() if line.startswith("log ")]
    assert line.split() == ["log", str(log)]


@pytest.mark.parametrize("arguments", [("status",), ("audit",), ("explain", "700213", "7002139")])
def test_output_fits_into_columns(running: Podpass, arguments: tuple[str, ...]) -> None:
    wrapped = running(*arguments, env={"COLUMNS": "60"}).stdout
    whole = running(*arguments, env={"COLUMNS": "none"}).stdout
    assert max(map(len, wrapped.splitlines())) <= 60 < max(map(len, whole.splitlines()))
    assert sorted("".join(wrapped.split())) == sorted("".join(whole.split()))


def test_help_names_the_variable_of_the_data_directory(podpass: Podpass) -> None:
    for arguments in ((), ("status",), ("run",)):
        text = " ".join(podpass(*arguments, "--help").stdout.split())
        assert "Data directory of the instance; or PODPASS_DATA_DIR." in text


def test_index_of_pages_and_help_have_the_same_summary_of_the_authority(podpass: Podpass) -> None:
    summary = COMMANDS["authority"].replace("Run", "run")
    index = (Path(__file__).parents[2] / "docs/README.md").read_text()
    assert f"- {summary}: `podpass authority`, worker processes" in index
    assert "several worker processes" in " ".join(podpass("authority", "--help").stdout.split())


@pytest.mark.processes
def test_start_and_stop_print_json(podpass: Podpass) -> None:
    started = podpass("up", "--detach", "--port-base", "0", "-o", "json")
    document = json.loads(started.stdout)
    assert (document.pop("started"), document.pop("ignored")) == (True, [])
    assert document.pop("console_link").startswith(document["console"])
    assert document == podpass.status()
    result = {"data_dir": str(podpass.data_dir), "killed": False}
    for stopped in (True, False):
        done = podpass("down", "-o", "json")
        assert done.returncode == 0
        assert json.loads(done.stdout) == {**result, "stopped": stopped}


@pytest.mark.parametrize(
    ("path", "start"), [("{bin}", "podpass"), ("/usr/bin:/bin", "{bin}/podpass")]
)
def test_commands_in_hints_work_as_printed(podpass: Podpass, path: str, start: str) -> None:
    """After `make demo`, podpass is not on the PATH."""
    folder = Path(sys.executable).parent
    env = {"PATH": path.format(bin=folder)}
    for arguments in (("status",), ("identity", "list"), ("env",)):
        done = podpass(*arguments, env=env, cwd="/")
        assert f"`{start.format(bin=folder)} up --detach`" in done.stderr


def test_status_contains_the_addresses_of_a_vault(running: Podpass) -> None:
    port = running.status()["vault"].rpartition(":")[2]
    text = running("status").stdout
    assert f"https://localhost:{port} (https://NAME.vault.azure.net through the gateway)" in text
    assert f"https://NAME.vault.localhost:{port} (without the gateway)" in text


def test_a_seed_applied_twice_changes_nothing(running: Podpass, tmp_path: Path) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text("identities:\n  - {name: applied-twice}\n")
    first = running("apply", "-f", str(seed))
    assert (first.returncode, "applied-twice" in first.stdout) == (0, True)
    second = running("apply", "-f", str(seed))
    assert (second.returncode, second.stdout) == (0, "")
    assert "no changes" in second.stderr
    from_stdin = running("apply", "-f", "-", input=seed.read_text())
    assert from_stdin.returncode == 0
    assert json.loads(running("apply", "-f", str(seed), "-o", "json").stdout) == {"changed": []}
    seed.write_text("identities:\n  - {name: applied-as-json}\n")
    (change,) = json.loads(running("apply", "-f", str(seed), "-o", "json").stdout)["changed"]
    assert "applied-as-json" in change


def test_seed_with_an_unknown_key_is_refused_with_its_name_and_line(
    running: Podpass, tmp_path: Path
) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text("identities:\n  - name: wrong\n    clientid: x\n")
    done = running("apply", "-f", str(seed))
    assert done.returncode != 0
    assert "clientid" in done.stderr
    assert "3" in done.stderr.splitlines()[0]
    assert "wrong" not in running("identity", "list").stdout


def test_images_are_added_and_listed(podpass: Podpass, tmp_path: Path) -> None:
    done = podpass("image", "add", "example.com/app:1", "--", "sh", "-c", "echo 'a b'")
    assert done.returncode == 0
    gone = tmp_path / "gone-program"
    gone.write_text("#!/bin/sh\n")
    gone.chmod(0o755)
    assert podpass("image", "add", "gone", "--", str(gone)).returncode == 0
    gone.unlink()
    listed = json.loads(podpass("image", "list", "-o", "json").stdout)
    by_name = {row["name"]: row for row in listed}
    assert by_name["example.com/app:1"]["command"] == ["sh", "-c", "echo 'a b'"]
    assert by_name["example.com/app:1"]["ready"] is True
    assert by_name["gone"]["ready"] is False
    assert "gone-program" in by_name["gone"]["why"]
    stored = json.loads((podpass.data_dir / "images.json").read_text())
    assert stored["example.com/app:1"] == ["sh", "-c", "echo 'a b'"]
    assert "sh -c 'echo '\"'\"'a b'\"'\"''" in podpass("image", "list").stdout


def test_image_is_ready_if_the_kubelet_finds_its_program(podpass: Podpass, tmp_path: Path) -> None:
    """Fails if the list searches other folders than the kubelet does."""
    installed = Path(sys.executable).with_name("podpass")
    assert installed.exists()
    images = {"installed": "podpass", "only-in-images": "/usr/local/bin/python3", "gone": "sh"}
    for name, program in images.items():
        podpass("image", "add", name, "--", program)
    rows = json.loads(podpass("image", "list", "-o", "json", env={"PATH": str(tmp_path)}).stdout)
    ready = {row["name"]: row["ready"] for row in rows if row["name"] in images}
    assert ready == {"installed": True, "only-in-images": True, "gone": False}


@pytest.mark.processes
def test_images_added_before_the_first_start_survive_it(podpass: Podpass) -> None:
    podpass("image", "add", "early", "--", "true")
    podpass.up()
    assert "early" in podpass("image", "list").stdout
    podpass("down")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_calls_podpass(podpass: Podpass, shell: str) -> None:
    done = podpass("completion", shell)
    assert done.returncode == 0
    assert "_PODPASS_COMPLETE" in done.stdout


def test_completion_completes_commands_and_options(podpass: Podpass) -> None:
    for words, expected in (("podpass id", "identity"), ("podpass up --de", "--detach")):
        done = podpass(
            env={
                "_PODPASS_COMPLETE": "bash_complete",
                "COMP_WORDS": words,
                "COMP_CWORD": str(words.count(" ")),
            }
        )
        assert f"plain,{expected}" in done.stdout


def test_names_of_the_instance_are_completed(running: Podpass) -> None:
    pod: Any = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "completed-pod"},
        "spec": {"containers": [{"name": "c", "image": "none", "command": ["true"]}]},
    }
    running("run", "-q", "--", "kubectl", "apply", "-f", "-", input=json.dumps(pod))
    job: Any = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "completed-job"}}
    template = {"spec": {**pod["spec"], "restartPolicy": "Never"}}
    job |= {"spec": {"suspend": True, "template": template}}
    running("run", "-q", "--", "kubectl", "apply", "-f", "-", input=json.dumps(job))
    for words, expected in (
        ("podpass doctor comp", {"completed-pod"}),
        ("podpass doctor jo", {"job/completed-job"}),
        ("podpass doctor job/", {"job/completed-job"}),
        ("podpass identity show w", {"web"}),
        ("podpass audit --target ", {"web", "tools-vault"}),
        ("podpass run -n kube-sys", {"kube-system"}),
        ("podpass run --as ", {"admin", "default"}),
        ("podpass explain -n default --pod comp", {"completed-pod"}),
    ):
        assert expected <= _complete(running, words), words


def test_nothing_is_completed_and_no_error_printed_without_an_instance(podpass: Podpass) -> None:
    for words in ("podpass identity show w", "podpass run -n ", "podpass explain --pod "):
        assert _complete(podpass, words) == set()


def _complete(podpass: Podpass, words: str) -> set[str]:
    done = podpass(
        env={
            "_PODPASS_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        }
    )
    assert done.stderr == ""
    return {line.partition(",")[2] for line in done.stdout.split()}


@pytest.mark.processes
def test_terminal_shows_the_progress_of_the_start(podpass: Podpass) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        podpass.command("up", "--detach", "--port-base", "0"),
        env={**podpass.environ, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    drawn = b""
    try:
        while chunk := os.read(ours, 65536):
            drawn += chunk
    except OSError:
        pass  # the other end of the terminal is closed
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.startswith("podpass is ready\n")
    for part in ("kubernetes", "authority", "vault", "gateway"):
        assert part in drawn.decode()
    assert "✓" in drawn.decode()
    podpass("down")


@pytest.mark.processes
def test_second_interrupt_of_a_start_leaves_a_usable_terminal(podpass: Podpass) -> None:
    """Fails if a start that is interrupted twice says nothing, or leaves the cursor hidden."""
    command = podpass.command("up", "--port-base", "0")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(command[0], command, {**podpass.environ, "TERM": "xterm"})
    drawn = b""
    try:
        while chunk := os.read(terminal, 65536):
            if _HIDDEN in chunk and _HIDDEN not in drawn:
                os.write(terminal, b"\x03")
                os.write(terminal, b"\x03")
            drawn += chunk
    except OSError:
        pass  # the other end of the terminal is closed
    os.close(terminal)
    # A shell shows 130 for both: the second interrupt may arrive while the interpreter exits.
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) in {130, -signal.SIGINT}
    assert drawn.rindex(_SHOWN) > drawn.rindex(_HIDDEN)
    assert b"interrupted" in drawn


@pytest.mark.parametrize(
    ("host", "service"),
    [("localhost", "the instance"), ("issuer.example", "issuer.example of this instance")],
)
def test_wait_notice_and_error_name_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, service: str
) -> None:
    printed: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr(output, "_NOTICE_SECONDS", 0)
    monkeypatch.setattr(output, "print_message", printed.put)
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.crt")
    notices: list[str] = []

    def close_connection(server: socket.socket) -> None:
        taken, _ = server.accept()
        notices.append(printed.get())
        taken.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=close_connection, args=(server,))
        thread.start()
        port = server.getsockname()[1]
        with pytest.raises(Error, match=f"{service} does not respond on port {port}"):
            client.request(port, tmp_path / "ca.crt", "GET", "/", host=host)
        thread.join()
    assert notices == [f"waiting for {service} to respond on port {port}, for up to 30 seconds"]


def test_service_that_completes_no_handshake_is_reported_before_the_limit_of_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel accepts the connection of a process that does not run."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.crt")
    monkeypatch.setattr(client, "_HANDSHAKE_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(client.NotResponding, match="did not respond on port"):
            client.request(port, tmp_path / "ca.crt", "GET", "/")


def test_command_that_needs_a_cluster_is_refused_for_the_cloud_half_alone(tmp_path: Path) -> None:
    status = {"kubernetes": {"kind": "external", "issuer": None}, "pids": {"podpass": 7}}
    with pytest.raises(client.NoCluster, match="it has no cluster and no console"):
        client.check_has_cluster(DataDir(tmp_path), status)
    client.check_has_cluster(DataDir(tmp_path), {"kubernetes": {"kind": "managed"}})


def test_cloud_half_alone_has_no_kubeconfig() -> None:
    external = {"kubernetes": {"kind": "external", "issuer": None}}
    assert find_instance_kubeconfig(external) is None
    found = find_instance_kubeconfig({"kubernetes": {"kubeconfig": "/d/kubeconfig"}})
    assert found == Path("/d/kubeconfig")


def test_instance_without_a_cluster_needs_a_kubeconfig() -> None:
    account = cast("Any", SimpleNamespace(is_instance=True, kubeconfig=None))
    with pytest.raises(UsageError, match="which has no cluster"):
        choose_kubeconfig(AccountOptions(), account)
    chosen = AccountOptions(kubeconfig="/d/kubeconfig")
    assert choose_kubeconfig(chosen, account) == Path("/d/kubeconfig")


def status(sandbox: str, network: str = "pod-addresses") -> dict[str, str]:
    return {"sandbox": sandbox, "pod_network": network}


@pytest.mark.parametrize("manager", ["apt-get", "dnf", "apk", "pacman", "zypper"])
def test_warning_about_missing_mounts_names_the_command_that_installs_bubblewrap(
    tmp_path: Path, manager: str
) -> None:
    (tmp_path / manager).touch(mode=0o755)
    text = " ".join(mount_warning(status("rewrite"), str(tmp_path)))
    assert "volumes are not mounted here" in text
    assert f"`{manager} " in text
    assert " bubblewrap`" in text


def test_package_is_named_if_there_is_no_known_package_manager(tmp_path: Path) -> None:
    assert "the package bubblewrap" in " ".join(mount_warning(status("rewrite"), str(tmp_path)))


@pytest.mark.parametrize("sandbox", ["bubblewrap", "namespaces"])
def test_working_mounts_need_no_warning(sandbox: str) -> None:
    assert mount_warning(status(sandbox), "/usr/bin") == []


def test_rows_name_the_sandbox_and_the_network() -> None:
    rows = dict(describe_pods(status("namespaces", "node-address")))
    assert "mount namespaces" in rows["containers"]
    assert "all pods share 127.0.0.1" in rows["pod network"]
    assert "its own loopback address" in dict(describe_pods(status("rewrite")))["pod network"]
