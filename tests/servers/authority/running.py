"""A real `podpass authority` in its own directory, with test data and a client."""

import asyncio
import hashlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import trustme

from podpass.database import Database
from podpass.directory.model import Identity, IdentityKind, PasswordCredential, Tenant, User
from podpass.directory.store.directory import Directory
from podpass.exchange.sign_in.passwords import hash_password
from tests.lab.instance import preloaded

TENANT = "11111111-1111-4111-8111-111111111111"
CLIENT = "44444444-4444-4444-8444-444444444444"
OBJECT = "66666666-6666-4666-8666-666666666666"
PLAIN = "77777777-7777-4777-8777-777777777777"  # has a secret, and no rights
SECRET = "s3cret~of-the-one_application"
# Two users: a configured administrator, and one without permissions.
NAMED, ANNA = "99999999-1111-4111-8111-111111111111", "99999999-2222-4222-8222-222222222222"
DOMAIN = "contoso.test"
AZ = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
SEED = """
identities:
  - name: ops
    kind: application
    client_id: 55555555-5555-4555-8555-555555555555
administrators: [ops, app]
"""
TOKEN = f"/{TENANT}/oauth2/v2.0/token"
SCOPE = "https://vault.azure.net/.default"
SECONDS = 30


@dataclass
class Answer:
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass
class Authority:
    """An authority: its files, its flags, and its process."""

    folder: Path
    ca: trustme.CA
    process: subprocess.Popen[str] | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def database(self) -> str:
        return f"sqlite:///{self.folder / 'authority.db'}"

    @property
    def log(self) -> str:
        path = self.folder / "stderr"
        return path.read_text() if path.exists() else ""

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == name]

    def write_certificate(self, not_after: datetime | None = None) -> trustme.LeafCert:
        leaf = self.ca.issue_cert("localhost", "127.0.0.1", not_after=not_after)
        chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
        (self.folder / "tls.crt").write_bytes(chain)
        (self.folder / "tls.key").write_bytes(leaf.private_key_pem.bytes())
        self.ca.cert_pem.write_to_path(self.folder / "ca.pem")
        return leaf

    def add_test_data(self) -> None:
        """Add the tenant and an application with a secret to the directory."""
        asyncio.run(add_test_data(self.database))

    def arguments(self, **flags: object) -> list[str]:
        """Return the command line; None omits a flag, a list repeats it."""
        given: dict[str, object] = {
            "database": self.database,
            "sealing_key_file": self.folder / "seal.key",
            "tls_certificate": self.folder / "tls.crt",
            "tls_key": self.folder / "tls.key",
            "tls_poll_seconds": 0.1,
            "listen": "127.0.0.1:0",
            "health_listen": "127.0.0.1:0",
            "origin": "https://localhost:8443",
            "output": "json",
            **flags,
        }
        return [sys.executable, "-m", "podpass.cli", "authority", *_flags(given)]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command of `podpass authority`."""
        return preloaded.run(["authority", *arguments], os.environ)

    def start(self, **flags: object) -> dict[str, Any]:
        """Start the authority, and wait until it is ready."""
        self.launch(**flags)
        return self.wait()

    def launch(self, **flags: object) -> subprocess.Popen[str]:
        with (self.folder / "stderr").open("a") as errors:
            self.process = subprocess.Popen(
                self.arguments(**flags), stdout=subprocess.PIPE, stderr=errors, text=True
            )
        return self.process

    def wait(self) -> dict[str, Any]:
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it exited with {self.process.wait(SECONDS)}: {self.log}"
        self.facts = json.loads(line)
        return self.facts

    def send_signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop the authority with a signal, as an orchestrator does, and return its exit code."""
        if self.process is None:
            return 0
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(number)
        code = process.wait(SECONDS)
        assert process.stdout is not None
        process.stdout.close()
        return code

    # ----------------------------------------------------------------------------------- client

    @property
    def trust(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        return context

    def connect(
        self, name: str = "service", source: str = "127.0.0.1"
    ) -> http.client.HTTPConnection:
        where = urlsplit(self.facts[name])
        assert where.hostname is not None
        if where.scheme == "http":
            return http.client.HTTPConnection(where.hostname, where.port, timeout=SECONDS)
        return http.client.HTTPSConnection(
            where.hostname,
            where.port,
            timeout=SECONDS,
            context=self.trust,
            source_address=(source, 0),
        )

    def request_token(
        self, connection: http.client.HTTPConnection | None = None, /, **form: str | None
    ) -> Answer:
        """Request a token, on a new connection or on an open one."""
        body = urlencode(token_form(**form))
        head = {"Content-Type": "application/x-www-form-urlencoded"}
        if connection is not None:
            return send(connection, "POST", TOKEN, body, head)
        with closing_connection(self.connect()) as once:
            return send(once, "POST", TOKEN, body, head)

    def get(self, path: str, name: str = "health") -> Answer:
        with closing_connection(self.connect(name)) as once:
            return send(once, "GET", path)

    def metrics(self) -> dict[str, float]:
        text = self.get("/metrics").body
        found = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in found}

    def wait_for_counter(self, name: str, times: int) -> None:
        """Wait until a counter has a value; it is updated after the responses of an event-loop iteration."""
        self.until(lambda: self.metrics().get(name, 0) >= times)
        assert self.metrics().get(name, 0) == times

    def metrics_folder(self) -> Path:
        """Return the metrics directory, which a running worker has mapped."""
        (worker, *_) = self.get("/readyz").body["workers"]
        maps = Path(f"/proc/{worker['pid']}/maps").read_text()
        line = next(line for line in maps.splitlines() if "podpass-metrics-" in line)
        return Path(line[line.index("/") :]).parent

    def metric_files(self) -> set[str]:
        return {path.name for path in self.metrics_folder().iterdir()}

    def until(self, condition: Any, seconds: float = SECONDS) -> None:
        """Wait until a condition is true."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not within {seconds} s; log: {self.log[-4000:]}"
            time.sleep(0.02)


class closing_connection:  # noqa: N801 used like a function
    """Close a connection at the end of the block."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection

    def __enter__(self) -> http.client.HTTPConnection:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def token_form(**changes: str | None) -> dict[str, str]:
    """Return the form of a token request; None omits a field."""
    form = {
        "grant_type": "client_credentials",
        "client_id": CLIENT,
        "client_secret": SECRET,
        "scope": SCOPE,
        **changes,
    }
    return {name: value for name, value in form.items() if value is not None}


def send(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    connection.request(method, path, body, dict(headers or {}))
    answer = connection.getresponse()
    data = answer.read()
    is_json = "json" in (answer.getheader("content-type") or "")
    text = json.loads(data) if is_json and data else data.decode()
    return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, text)


async def add_test_data(url: str, secret: str = SECRET) -> None:
    digest = hashlib.sha256(secret.encode()).digest()
    password = PasswordCredential(
        key_id="88888888-8888-4888-8888-888888888888",
        display_name="one",
        hint=secret[:3],
        digest=digest,
        begins=0,
        expires=4e9,
    )
    async with Database(url) as database, Directory(database) as directory:
        await directory.create_tenant(Tenant(id=TENANT, display_name="Contoso"))
        for client_id, object_id, name in (
            (CLIENT, OBJECT, "app"),
            (PLAIN, PLAIN.replace("7", "8"), "plain"),
        ):
            await directory.identities.put(
                Identity(
                    tenant_id=TENANT,
                    client_id=client_id,
                    object_id=object_id,
                    name=name,
                    kind=IdentityKind.APPLICATION,
                    passwords=(password,),
                )
            )


async def add_users(url: str, secret: str = SECRET) -> None:
    """Add two users to the directory, as a restored backup may contain them."""
    password = hash_password(secret)
    async with Database(url) as database, Directory(database) as directory:
        for user_id, name in ((NAMED, "named"), (ANNA, "anna")):
            await directory.users.put(
                User(id=user_id, tenant_id=TENANT, name=f"{name}@{DOMAIN}", password=password)
            )


def has_exited(pid: int) -> bool:
    """Return whether a process has exited, even if its parent has not reaped it yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def _flags(given: Mapping[str, object]) -> list[str]:
    found: list[str] = []
    for name, value in given.items():
        if value is None:
            continue
        for one in value if isinstance(value, list) else [value]:
            found += [f"--{name.replace('_', '-')}", str(one)]
    return found
