"""The demo of `make demo`, and its behaviour when a step fails."""

import contextlib
import os
import pty
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from podpass.lab.tutorial.demo import Demo, DemoFailed, _print_next_steps, run_demo
from tests.waiting import wait_until

pytestmark = pytest.mark.processes


async def test_demo_prints_each_hop_and_two_failures() -> None:
    said: list[str] = []
    await run_demo(said.append)
    text = "\n".join(said)
    assert "printed: hello from the vault" in text
    for number, stage in enumerate(
        ("account", "admission", "assertion", "exchange", "resource"), start=1
    ):
        assert f"  {number} {stage}" in text
    assert "hops:      none" in text
    assert "AADSTS700213" in text
    assert any("stopped" in line for line in said)
    assert said[-1].split() == ["podpass", "down"]


async def test_missing_sdk_is_reported_with_a_hint_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("azure.identity", "azure.keyvault.secrets"):
        monkeypatch.setitem(sys.modules, module, None)
    said: list[str] = []
    with pytest.raises(DemoFailed) as failed:
        await Demo(tmp_path, said.append).run()
    packages = "azure-identity azure-keyvault-secrets"
    assert failed.value.hint == f"{sys.executable} -m pip install {packages}"
    assert said == []
    assert list(tmp_path.iterdir()) == []


async def test_failed_step_is_reported_with_the_output_of_the_command(tmp_path: Path) -> None:
    broken = Demo(tmp_path, print)
    with pytest.raises(DemoFailed) as failed:
        await broken.podpass("apply", "-f", str(tmp_path / "missing.yaml"))
    assert "apply" in failed.value.message
    assert "missing.yaml" in failed.value.message


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_leaves_no_instance(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C reaches the whole process group; it must not interrupt the `podpass down` of the clean-up."""
    demo = subprocess.Popen(
        [sys.executable, "-m", "podpass.cli", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert demo.stdout is not None
    with demo.stdout:
        for line in demo.stdout:
            if "printed:" in line:
                os.killpg(demo.pid, number)
    demo.wait(60)
    assert not list(tmp_path.glob("podpass-demo-*"))
    assert not _find_processes(tmp_path)


def test_next_steps_name_files_that_exist_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, is_relative in ((Path(__file__).parents[3], True), (tmp_path, False)):
        monkeypatch.chdir(folder)
        said: list[str] = []
        _print_next_steps(said.append, ".venv/bin/podpass")
        (up,) = [line for line in said if " up " in line]
        words = shlex.split(up)
        assert words[:3] == [".venv/bin/podpass", "up", "--detach"]
        assert Path(words[-1]).is_file()
        assert Path(words[-1]).is_absolute() is not is_relative
        assert '  eval "$(.venv/bin/podpass env)"' in said


def test_demo_ends_with_the_next_steps(capsys: pytest.CaptureFixture[str]) -> None:
    """The steps are printed also after `podpass demo` in a wheel, whose examples are in the package."""
    _print_next_steps(print, "podpass")
    printed = capsys.readouterr().out
    for step in (
        "podpass up --detach --seed ",
        "kubectl apply -f ",
        "podpass explain ",
        "podpass down",
    ):
        assert step in printed


@pytest.mark.parametrize("moment", ["before the lock", "while the parts start"])
def test_interrupted_start_of_the_demo_ends_at_once_and_leaves_nothing(
    tmp_path: Path, moment: str
) -> None:
    """Fails if Ctrl-C takes effect only when the instance is ready."""
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, "-m", "podpass.cli", "demo", "--keep"]
        os.execvpe(command[0], command, {**os.environ, "TMPDIR": str(tmp_path), "TERM": "xterm"})
    drawn = b""
    try:
        while chunk := os.read(terminal, 65536):
            if b"starting" in chunk and b"starting" not in drawn:
                if moment != "before the lock":
                    wait_until(lambda: [*tmp_path.glob("podpass-demo-*/lock")])
                os.write(terminal, b"\x03")
            drawn += chunk
    except OSError:
        pass  # the other end of the terminal is closed
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert b"podpass: interrupted" in drawn
    [folder] = tmp_path.glob("podpass-demo-*")
    log = folder / "podpass.log"
    assert not log.exists() or "instance_ready" not in log.read_text()
    assert not _find_processes(tmp_path)


def _find_processes(folder: Path) -> list[Path]:
    """Return the processes with a folder in their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            if str(folder).encode() in path.read_bytes():
                found.append(path)
    return found
