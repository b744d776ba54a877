"""A real `podpass webhook` process in its own directory, and a client for it."""

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme

from tests.ports import free_port

TENANT = "11111111-2222-3333-4444-555555555555"
PATH = "/mutate-v1-pod"
JSON = {"content-type": "application/json"}
SECONDS = 30


@dataclass
class Answer:
    """A response."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)


@dataclass
class Webhook:
    """One webhook: its files, its flags, and its process while it runs."""

    folder: Path
    ca: trustme.CA
    kubeconfig: Path
    process: subprocess.Popen[bytes] | None = None
    ports: dict[str, int] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=lambda: {"AZURE_TENANT_ID": TENANT})

    def write_certificate(self) -> trustme.LeafCert:
        """Write a new certificate pair, each file atomically."""
        leaf = self.ca.issue_cert("localhost", "127.0.0.1")
        chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
        for name, data in (("tls.key", leaf.private_key_pem.bytes()), ("tls.crt", chain)):
            part = self.folder / f"{name}.part"
            part.write_bytes(data)
            part.rename(self.folder / name)
        return leaf

    def arguments(self, **flags: object) -> list[str]:
        """Return the command line; None omits a flag."""
        given: dict[str, object] = {
            "kubeconfig": self.kubeconfig,
            "webhook_cert_dir": self.folder,
            "disable_cert_rotation": "true",
            "webhook_addr": "127.0.0.1:0",
            "health_addr": "127.0.0.1:0",
            "metrics_addr": "127.0.0.1:0",
            "log_level": "info",
            "shutdown_delay_seconds": 0,
            **flags,
        }
        written = [
            f"--{name.replace('_', '-')}={value}"
            for name, value in given.items()
            if value is not None
        ]
        return [sys.executable, "-m", "podpass.cli", "webhook", *written]

    def start_quietly(self) -> None:
        """Start the webhook on free ports, with only warnings in its log."""
        for name in ("webhook", "metrics", "health"):
            self.ports[name] = free_port()
        given = {f"{name}_addr": f"127.0.0.1:{port}" for name, port in self.ports.items()}
        self._begin(None, log_level="", **given)
        self.until(self._is_ready)

    def _is_ready(self) -> bool:
        try:
            return self.get("/readyz").status == 200
        except OSError:
            return False

    def launch(self, preexec: Callable[[], None] | None = None, **flags: object) -> None:
        before = len(self.events("webhook_starting"))
        self._begin(preexec, **flags)
        self.until(lambda: len(self.events("webhook_starting")) > before)

    def _begin(self, preexec: Callable[[], None] | None, **flags: object) -> None:
        with (self.folder / "stderr").open("ab") as errors:
            self.process = subprocess.Popen(
                self.arguments(**flags),
                env={**os.environ, **self.environ},
                stdout=subprocess.DEVNULL,
                stderr=errors,
                preexec_fn=preexec,
            )

    def start(self, preexec: Callable[[], None] | None = None, **flags: object) -> None:
        """Start the webhook and wait until it is ready."""
        self.launch(preexec, **flags)
        self.until(lambda: self.get("/readyz").status == 200)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop the webhook by a signal and return its exit code."""
        if self.process is None:
            return 0
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(number)
        return process.wait(SECONDS)

    # ------------------------------------------------------------------------------------ log

    @property
    def log(self) -> str:
        path = self.folder / "stderr"
        return path.read_text() if path.exists() else ""

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines of the log; a line that is not JSON, such as a traceback, is an error."""
        return [json.loads(line) for line in self.log.splitlines() if line]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == name]

    def port(self, name: str) -> int:
        if name in self.ports:
            return self.ports[name]
        return int(self.events("webhook_starting")[-1][name].rpartition(":")[2])

    def until(self, condition: Callable[[], Any], seconds: float = SECONDS) -> None:
        """Wait until a condition is true."""
        end = time.monotonic() + seconds
        while not condition():
            ended = self.process is not None and self.process.poll() is not None
            assert not ended, f"the process exited; log: {self.log[-4000:]}"
            assert time.monotonic() < end, f"not within {seconds} s; log: {self.log[-4000:]}"
            time.sleep(0.02)

    # ------------------------------------------------------------------------------------ requests

    @property
    def trust(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        return context

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port('webhook')}{PATH}"

    def connect(self, tls: ssl.SSLContext | None = None) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port("webhook"), timeout=SECONDS, context=tls or self.trust
        )

    def raw(self) -> ssl.SSLSocket:
        """Return a raw TLS connection."""
        plain = socket.create_connection(("127.0.0.1", self.port("webhook")), timeout=SECONDS)
        return self.trust.wrap_socket(plain, server_hostname="127.0.0.1")

    def post(
        self,
        body: bytes,
        headers: Mapping[str, str] = JSON,
        connection: http.client.HTTPSConnection | None = None,
    ) -> Answer:
        """Send a request body, valid or not."""
        used = connection or self.connect()
        used.request("POST", PATH, body, dict(headers))
        answer = _read(used.getresponse())
        if connection is None:
            used.close()
        return answer

    def review(self, pod: Any, namespace: str = "default", **request: Any) -> Answer:
        return self.post(review(pod, namespace, **request))

    def get(self, path: str, name: str = "health", method: str = "GET") -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port(name), timeout=SECONDS)
        connection.request(method, path)
        answer = _read(connection.getresponse())
        connection.close()
        return answer

    def metrics(self) -> dict[str, float]:
        text = self.get("/metrics", "metrics").text
        found = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in found}


def _read(answer: http.client.HTTPResponse) -> Answer:
    text = answer.read().decode()
    return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, text)


def review(pod: Any, namespace: str = "default", **request: Any) -> bytes:
    """Build a review as an API server does."""
    content = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": namespace,
        "operation": "CREATE",
        "userInfo": {"username": "system:admin"},
        "object": pod,
        "dryRun": False,
        **request,
    }
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": content}
    return json.dumps(body).encode()


def pod(name: str = "app", account: str = "web", **spec: Any) -> dict[str, Any]:
    """Build a labelled pod."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"azure.workload.identity/use": "true"}},
        "spec": {
            "serviceAccountName": account,
            "containers": [{"name": "app", "image": "none", "command": ["true"]}],
            **spec,
        },
    }
