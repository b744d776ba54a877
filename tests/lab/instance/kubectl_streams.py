"""What a developer does with kubectl in a running pod: the same steps on every kind of API server."""

import contextlib
import fcntl
import os
import pty
import re
import select
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.lab.instance.kubectl import Kubectl

_SECONDS = 30.0
# kubectl from 1.30 on uses WebSockets; these variables make it use SPDY, as older ones do.
SPDY = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}

# A server that says its name and the size of what it has received.
SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        size = len(self.rfile.read(int(self.headers['content-length'])))
        body = f"{os.environ['WHO']} {size}".encode()
        self.send_response(200)
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
print('port', server.server_address[1], flush=True)
server.serve_forever()
"""


def pod_manifest(name: str) -> dict[str, Any]:
    """Return a pod that serves HTTP on a free port, which it prints, with a variable and a volume."""
    container = {
        "name": "app",
        "image": "none",
        "command": ["python", "-c", SERVER],
        "env": [{"name": "WHO", "value": name}],
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "containers": [container],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
            "terminationGracePeriodSeconds": 1,
        },
    }


def check_commands(kubectl: Kubectl, pod: str) -> None:
    """Check output, input, errors and exit codes of commands."""
    done = _run(kubectl, "exec", pod, "--", "sh", "-c", "echo $WHO; echo sorry >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, f"{pod}\n".encode())
    assert b"sorry" in done.stderr
    data = os.urandom(300_000)
    assert _run(kubectl, "exec", "-i", pod, "--", "cat", given=data).stdout == data
    missing = _run(kubectl, "exec", pod, "--", "nothing-here")
    assert missing.returncode == 1
    assert b"executable file not found" in missing.stderr


def check_copies(kubectl: Kubectl, pod: str, folder: Path) -> None:
    """Check that kubectl cp copies a file to a volume of the pod, and back."""
    data = os.urandom(2_000_000)
    (folder / "sent").write_bytes(data)
    kubectl("cp", str(folder / "sent"), f"{pod}:/scratch/file")
    kubectl("cp", f"{pod}:/scratch/file", str(folder / "received"))
    assert (folder / "received").read_bytes() == data


def check_forwarding(kubectl: Kubectl, pod: str) -> None:
    """Check that several requests reach a port of the pod."""
    port = kubectl("logs", pod).split()[1]
    with kubectl.following("port-forward", f"pod/{pod}", f"0:{port}") as forward:
        assert forward.stdout is not None
        local = int(re.search(r"127\.0\.0\.1:(\d+)", forward.stdout.readline())[1])  # type: ignore[index]
        try:
            assert [_post(local, size) for size in (0, 10, 500_000)] == [
                f"{pod} {size}" for size in (0, 10, 500_000)
            ]
        finally:
            forward.terminate()


def check_terminal(kubectl: Kubectl, *arguments: str) -> None:
    """Check the size of a terminal, Ctrl-C and the exit code of an interactive shell."""
    with _Terminal(kubectl, *arguments) as terminal:
        terminal.resize(101, 31)
        terminal.send("echo up$((1+1))\r")
        terminal.until("up2")
        terminal.send(
            "until stty size | grep -q '31 101'; do sleep 0.1; done; echo first$((1+1))\r"
        )
        terminal.until("first2")
        terminal.resize(92, 42)
        terminal.send("until stty size | grep -q '42 92'; do sleep 0.1; done; echo $TERM$((1+1))\r")
        terminal.until("xterm2")
        # Ctrl-C must end this process. The process prints the message itself, so it is running then.
        terminal.send("sh -c 'echo before$((1+1)); exec sleep 600'\r")
        terminal.until("before2")
        terminal.send("\x03")
        terminal.send("echo after$((1+1))\r")
        terminal.until("after2")
        terminal.send("exit 5\r")
        assert terminal.wait() == 5


def check_attached_input(kubectl: Kubectl, name: str) -> None:
    """Check that `kubectl run -i` passes on input and output, and returns the exit code."""
    script = "while read -r line; do echo got $line; done; exit 3"
    run = ("run", name, "-i", "--rm", "--restart=Never", "--image=none", "--command", "--")
    done = _run(kubectl, *run, "sh", "-c", script, given=b"one\ntwo\n")
    assert done.returncode == 3, done
    assert done.stdout.startswith(b"got one\ngot two\n"), done


def _run(
    kubectl: Kubectl, *arguments: str, given: bytes = b""
) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [kubectl.binary, *arguments],
        env=kubectl.environ,
        input=given,
        capture_output=True,
        check=False,
        timeout=60,
    )


def _post(port: int, size: int) -> str:
    head = f"POST / HTTP/1.0\r\ncontent-length: {size}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as connection:
        connection.sendall(head + b"x" * size)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return answer.partition(b"\r\n\r\n")[2].decode()


class _Terminal:
    """A kubectl that runs on a terminal."""

    def __init__(self, kubectl: Kubectl, *arguments: str) -> None:
        self._received = ""
        self._pid, self._master = pty.fork()
        if self._pid == 0:
            environ = {**kubectl.environ, "TERM": "xterm"}
            os.execve(kubectl.binary, [kubectl.binary, *arguments], environ)

    def __enter__(self) -> "_Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._master)

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def send(self, text: str) -> None:
        os.write(self._master, text.encode())

    def until(self, text: str) -> None:
        """Read until a text has been printed; drop what came before it."""
        deadline = time.monotonic() + _SECONDS
        while text not in self._received:
            ready, _, _ = select.select([self._master], [], [], deadline - time.monotonic())
            assert ready, f"{text!r} is not in {self._received!r}"
            self._received += os.read(self._master, 65536).decode(errors="replace")
        self._received = self._received.partition(text)[2]

    def wait(self) -> int:
        with contextlib.suppress(OSError):
            while os.read(self._master, 65536):
                pass
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


def with_spdy(kubectl: Kubectl) -> Kubectl:
    """Return the same kubectl, which uses SPDY."""
    return replace(kubectl, variables=SPDY)


def old_binaries(binary: str) -> Iterator[str]:
    """Yield older versions of kubectl next to the machine's, the oldest first, as some vendors do."""
    for path in sorted(Path(binary).resolve().parent.glob("kubectl.1.[0-9][0-9]")):
        yield str(path)
