"""The command `kubeling`: up, run, status, down, and what it says about failures."""

import base64
import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from kubeling.apiserver.release import NEWEST, RELEASES
from kubeling.cli import cli
from tests.product.programs import FOLDER, SECONDS, kubectl, kubectl_binary, output, until

pytestmark = pytest.mark.processes

KUBELING = str(FOLDER / "kubeling")
NO_CLUSTER = 1
INTERRUPTED = "^C\r\nkubeling: interrupted\r\n"


@pytest.fixture
def environ(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return an environment with a state folder of its own; end its cluster after the test."""
    values = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    values.pop("KUBELING_DATA_DIR", None)
    yield values
    subprocess.run([KUBELING, "down"], env=values, check=True, capture_output=True, timeout=SECONDS)


def failure(words: list[str], environ: dict[str, str], code: int = 1) -> str:
    """Run a command that must fail; return its error output."""
    done = subprocess.run(
        [KUBELING, *words],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def interrupt(
    words: list[str], environ: dict[str, str], holds: Callable[[], object]
) -> tuple[int, str]:
    """Press Ctrl-C when a condition holds; return the exit code and the text of the terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(KUBELING, [KUBELING, *words], environ)
    until(holds)
    os.write(terminal, b"\x03")
    said = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while chunk := os.read(terminal, 65536):
            said += chunk
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode()


@pytest.mark.parametrize(
    "words", [["up"], ["run", "--", sys.executable, "-c", "print('started')"]], ids=["up", "run"]
)
def test_interrupted_start_exits_with_130_and_leaves_no_folder(
    environ: dict[str, str], tmp_path: Path, words: list[str]
) -> None:
    """Fails if Ctrl-C before the cluster is ready is ignored, or ends with 0 or an abort message."""
    environ["TMPDIR"] = str(tmp_path)
    code, said = interrupt(words, environ, lambda: [*tmp_path.glob("kubeling-*/ca.crt")])
    assert (code, said) == (130, INTERRUPTED)
    assert not [*tmp_path.glob("kubeling-*")]


def test_interrupted_import_exits_with_130(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    words = [sys.executable, "-m", "kubeling", "up"]
    done = subprocess.run(
        words,
        env={**environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert (done.returncode, done.stderr) == (130, "kubeling: interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_prints_the_kubeconfig_and_ends_with_a_signal(
    number: signal.Signals, environ: dict[str, str]
) -> None:
    with subprocess.Popen(
        [KUBELING, "up"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        path = Path(process.stdout.readline().strip())
        next_step = process.stderr.readline()
        assert "kubeling" in kubectl(path, "get", "nodes")
        process.send_signal(number)
        rest = process.communicate(timeout=SECONDS)

    assert process.returncode == 0
    assert rest == ("", "")
    assert f"export KUBECONFIG={path}" in next_step
    assert not path.parent.exists()


def test_detached_cluster_is_shown_and_ended(environ: dict[str, str]) -> None:
    path = output([KUBELING, "up", "--detach"], environ=environ).strip()
    again = output([KUBELING, "up", "--detach"], environ=environ).strip()
    found = json.loads(output([KUBELING, "status", "-o", "json"], environ=environ))
    kubectl(Path(path), "create", "namespace", "shop")
    output([KUBELING, "down"], environ=environ)
    ended = json.loads(output([KUBELING, "status", "-o", "json"], environ=environ, code=NO_CLUSTER))

    assert path == again == found["kubeconfig"]
    assert found["ready"] is True
    assert found["server"].startswith("https://127.0.0.1:")
    assert ended == {"ready": False, "data_dir": found["data_dir"]}
    assert not Path(path).exists()
    # Without --data-dir the next cluster is a new one.
    path = output([KUBELING, "up", "--detach"], environ=environ).strip()
    assert "shop" not in kubectl(Path(path), "get", "namespaces")


def test_interrupted_start_in_the_background_leaves_nothing_that_runs(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """Fails if the child continues: the next command would report a cluster that ends a moment later."""
    folder = tmp_path / "state/kubeling"
    code, said = interrupt(["up", "--detach"], environ, (folder / "kubeling.log").exists)
    assert (code, said) == (130, INTERRUPTED)
    assert not folder.exists()

    path = output([KUBELING, "up", "--detach"], environ=environ).strip()
    assert "kubeling" in kubectl(Path(path), "get", "nodes")


def test_ctrl_c_before_the_background_process_has_its_session_is_left_to_its_parent() -> None:
    """Fails if it is raised in the new process, where the parent would report it as its own fault."""
    program = (
        "import os, signal\n"
        "from kubeling.cli import _unblock_signals\n"
        "mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "_unblock_signals(mask)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=SECONDS)
    assert done.returncode == 0


def test_terminated_start_in_the_background_leaves_no_process(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """Fails if the child keeps running, for example after a CI job's timeout."""
    folder = tmp_path / "state/kubeling"
    with subprocess.Popen(
        [KUBELING, "up", "--detach"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        until((folder / "kubeling.log").exists)
        process.terminate()
        written, said = process.communicate(timeout=SECONDS)
    assert (process.returncode, written, said.strip()) == (130, b"", b"kubeling: interrupted")
    assert not folder.exists()


def test_next_steps_name_the_folder_of_the_option(environ: dict[str, str], tmp_path: Path) -> None:
    option = ["--data-dir", str(tmp_path / "data")]
    said = failure(["status", *option], environ)
    assert f"kubeling up --detach --data-dir {tmp_path / 'data'}" in said
    words = [KUBELING, "up", "--detach", "--no-node", *option]
    started = subprocess.run(
        words, env=environ, capture_output=True, text=True, check=True, timeout=SECONDS
    )
    try:
        assert started.stderr.strip().endswith(f"kubeling down --data-dir {tmp_path / 'data'}")
        said = failure(["up", *option], environ)
        assert f"kubeling down --data-dir {tmp_path / 'data'}" in said
    finally:
        output([KUBELING, "down", *option], environ=environ)


def test_folder_that_cannot_be_written_is_one_line(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for words in (["up"], ["up", "--detach"]):
        said = failure([*words, "--data-dir", str(tmp_path / "file" / "data")], environ)
        assert said.count("\n") == 1
        assert str(tmp_path / "file") in said
        assert "Check the folder" in said


def test_damaged_key_is_the_cause_of_a_failed_start_in_the_background(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """Fails if the last line of the log is reported, which may be of another program."""
    (tmp_path / "service-account.key").write_text("damaged")
    said = failure(["up", "--detach", "--data-dir", str(tmp_path)], environ)
    assert said.startswith(f"kubeling: {tmp_path}/service-account.key is not an RSA key. Remove it")
    log = (tmp_path / "kubeling.log").read_text()
    assert "Traceback" not in log
    assert f"See {tmp_path}/kubeling.log" in said


def test_data_dir_keeps_objects_and_is_that_of_the_variable(
    environ: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    for _ in range(2):
        words = [KUBELING, "up", "--detach", "--no-node", "--data-dir", str(folder)]
        path = Path(output(words, environ=environ).strip())
        kubectl(
            path,
            "apply",
            "-f",
            "-",
            given='{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}',
        )
        found = kubectl(path, "get", "nodes,namespaces", "-o", "name").split()
        output([KUBELING, "down"], environ={**environ, "KUBELING_DATA_DIR": str(folder)})

    assert "namespace/shop" in found
    assert "node/kubeling" not in found


def test_cluster_that_was_killed_leaves_no_status(environ: dict[str, str]) -> None:
    output([KUBELING, "up", "--detach", "--no-node"], environ=environ)
    found = json.loads(output([KUBELING, "status", "-o", "json"], environ=environ))
    os.kill(found["pid"], signal.SIGKILL)

    assert "Start one: kubeling up" in failure(["status"], environ)
    assert output([KUBELING, "up", "--detach", "--no-node"], environ=environ)


def test_stopped_cluster_is_not_ready_and_can_be_ended(environ: dict[str, str]) -> None:
    output([KUBELING, "up", "--detach", "--no-node"], environ=environ)
    found = json.loads(output([KUBELING, "status", "-o", "json"], environ=environ))
    os.kill(found["pid"], signal.SIGSTOP)
    for words in (["status"], ["up", "--detach"]):
        assert f"kill -CONT {found['pid']}" in failure(words, environ)
    shown = json.loads(output([KUBELING, "status", "-o", "json"], environ=environ, code=NO_CLUSTER))
    assert shown == {**found, "ready": False}
    output([KUBELING, "down"], environ=environ)
    assert "no cluster runs" in failure(["status"], environ)


def test_two_starts_at_once_find_one_cluster(environ: dict[str, str]) -> None:
    """Fails if the second start deletes files of the first, or reports that its folder is in use."""
    words = [KUBELING, "up", "--detach", "--no-node"]
    started = [
        subprocess.Popen(
            words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [each.communicate(timeout=SECONDS) for each in started]

    assert [each.returncode for each in started] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert sum("runs already" in errors for _, errors in said) == 1
    output([KUBELING, "status"], environ=environ)


def test_image_option_names_the_program_of_an_image(environ: dict[str, str]) -> None:
    words = [KUBELING, "up", "--detach", "--image", "nginx=echo 'hello world'"]
    path = Path(output(words, environ=environ).strip())
    kubectl(path, "run", "web", "--image=nginx:1.27", "--restart=Never")
    kubectl(path, "wait", "pod/web", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=50s")

    assert kubectl(path, "logs", "web") == "hello world\n"


def test_option_starts_a_detached_cluster_without_controllers(environ: dict[str, str]) -> None:
    words = [KUBELING, "up", "--detach", "--no-node", "--no-controllers"]
    path = Path(output(words, environ=environ).strip())

    assert kubectl(path, "get", "configmaps,serviceaccounts,nodes", "-A", "-o", "name") == ""


def test_run_passes_on_exit_code_and_environment(environ: dict[str, str]) -> None:
    code = "import os; print(os.environ['KUBECONFIG']); raise SystemExit(7)"
    path = output(
        [KUBELING, "run", "--no-node", "--", sys.executable, "-c", code], environ=environ, code=7
    )

    assert not Path(path.strip()).exists()


def test_run_passes_on_a_signal_and_returns_its_number(environ: dict[str, str]) -> None:
    code = "import signal; print('ready', flush=True); signal.pause()"
    with subprocess.Popen(
        [KUBELING, "run", "--no-node", "--", sys.executable, "-c", code],
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(SECONDS) == 128 + signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found through /proc")
def test_killed_run_ends_its_command_and_leaves_no_folder(environ: dict[str, str]) -> None:
    code = "import os, signal; print(os.getpid(), os.environ['KUBECONFIG'], flush=True); signal.pause()"
    script = f'"{sys.executable}" -c "{code}"; true'
    with subprocess.Popen(
        [KUBELING, "run", "--no-node", "--", "sh", "-c", script],
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        pid, kubeconfig = process.stdout.readline().split()
        assert Path(kubeconfig).exists()
        process.kill()

    until(lambda: not Path("/proc", pid).exists())
    until(lambda: not Path(kubeconfig).parent.exists())


def test_run_of_a_missing_command_says_what_to_check(environ: dict[str, str]) -> None:
    message = failure(["run", "--no-node", "--", "is-not-there"], environ, code=127)

    assert "cannot run is-not-there" in message
    assert "PATH" in message


@pytest.mark.parametrize("detach", [[], ["--detach"]], ids=["", "detached"])
def test_port_in_use_is_reported_in_one_line(environ: dict[str, str], detach: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        message = failure(["up", "--port", port, *detach], environ)

    [line] = message.splitlines()
    assert f"cannot listen on port {port}" in line
    assert "port 0 for a free one" in line


@pytest.mark.parametrize(
    "words",
    [
        ["up", "--image", "nginx"],
        ["up", "--image", "nginx='"],
        ["up", "--port", "x"],
        ["run"],
        ["nothing"],
    ],
)
def test_wrong_usage_exits_with_2(environ: dict[str, str], words: list[str]) -> None:
    assert "Error:" in failure(words, environ, code=2)


def test_unknown_release_names_the_known_ones(environ: dict[str, str]) -> None:
    for text in ("1.1", "latest", "1.3", "11.35"):
        message = failure(["up", "--release", text], environ)
        assert all(name in message for name in RELEASES)


@pytest.mark.parametrize("text", [RELEASES[-1], f"v{RELEASES[-1]}", f"{RELEASES[-1]}.0"])
def test_release_may_be_a_version(environ: dict[str, str], text: str) -> None:
    words = ["run", "--no-node", "--release", text, "--", kubectl_binary(), "version", "-o", "json"]
    found = json.loads(output([KUBELING, *words], environ=environ))
    assert found["serverVersion"]["gitVersion"].startswith(f"v{RELEASES[-1]}.")


@pytest.mark.parametrize("command", cli.commands.values(), ids=cli.commands)
def test_help_says_what_each_option_does_and_its_default(command: click.Command) -> None:
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.help, option.name
            is_set = (option.is_flag and not option.secondary_opts) or option.multiple
            if not is_set and not option.show_default:
                assert "[default: " in option.help, option.name


def test_help_names_the_releases(environ: dict[str, str]) -> None:
    said = " ".join(output([KUBELING, "up", "--help"], environ=environ).split())
    names = f"{', '.join(RELEASES[:-1])} or {RELEASES[-1]}"
    assert f"release: {names}. [default: {NEWEST}]" in said


@pytest.mark.parametrize("words", [["up", "--detach"], ["run", "--", "true"]])
def test_issuer_that_is_no_https_url_is_refused(environ: dict[str, str], words: list[str]) -> None:
    words[1:1] = ["--issuer", "http://east.example"]
    assert "'http://east.example' is not an https URL" in failure(words, environ)


def test_tokens_have_the_issuer_that_the_user_chose(environ: dict[str, str]) -> None:
    issuer = "https://east.example/cluster"
    command = [KUBELING, "up", "--detach", "--no-node", "--issuer", issuer]
    path = Path(output(command, environ=environ).strip())
    document = json.loads(kubectl(path, "get", "--raw", "/.well-known/openid-configuration"))
    assert document["issuer"] == issuer
    # The issuer is the default audience too, so the server accepts its own tokens.
    token = kubectl(path, "create", "token", "default").strip()
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert (claims["iss"], claims["aud"]) == (issuer, [issuer])
    assert "system:serviceaccount:default:default" in kubectl(
        path, "--token", token, "auth", "whoami"
    )


def test_shell_completion_is_offered(environ: dict[str, str]) -> None:
    script = output([KUBELING], environ={**environ, "_KUBELING_COMPLETE": "bash_source"})

    assert "complete" in script


def test_help_and_plain_import_load_no_part_of_a_cluster() -> None:
    code = (
        "import sys, kubeling, kubeling.cli, kubeling.pytest_plugin;"
        "print(*(m for m in sys.modules if m.startswith(('kubeling', 'asyncio', 'cryptography'))))"
    )
    loaded = set(output([sys.executable, "-c", code]).split())

    expected = {"kubeling", "kubeling.cli", "kubeling.errors", "kubeling.pytest_plugin"}
    assert {each for each in loaded if each.startswith("kubeling")} == expected
    assert not {each for each in loaded if each.startswith("cryptography")}


def test_start_loads_no_client_of_http_and_no_yaml() -> None:
    code = (
        "import sys, kubeling\n"
        "with kubeling.Cluster():\n"
        "    print(*(m for m in ('aiohttp', 'yaml', 'jwt', 'jsonschema_rs') if m in sys.modules))"
    )
    assert output([sys.executable, "-c", code]).split() == []
