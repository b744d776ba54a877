"""A real PostgreSQL on loopback, from the packages of the machine, in its own directory.

`running` yields a server that is started, stopped and killed by its process ID. Missing programs are
installed if possible; otherwise the tests that need them are skipped.
"""

import asyncio
import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port

_NEEDED = ("initdb", "postgres")
_START_SECONDS = 30
CLOSE_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def binaries() -> Path:
    """Return the directory of PostgreSQL's programs, or skip the test."""
    found = _binaries()
    if found is None and _can_install():
        install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "postgresql"]
        subprocess.run(install, check=False, capture_output=True, timeout=300)
        found = _binaries()
    if found is None:
        pytest.skip("PostgreSQL: neither on PATH nor under /usr/lib/postgresql; install postgresql")
    return found


def _can_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def _binaries() -> Path | None:
    on_path = shutil.which("postgres")
    places = [Path(on_path).resolve().parent] if on_path else []
    places += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: _version(one), reverse=True
    )
    return next((one for one in places if all((one / name).exists() for name in _NEEDED)), None)


def _version(folder: Path) -> float:
    with contextlib.suppress(ValueError):
        return float(folder.parent.name)
    return 0.0


@dataclass
class Server:
    """A server with a directory and a port that stay the same after a restart."""

    programs: Path
    folder: Path
    port: int
    fsync: bool
    settings: tuple[str, ...]
    password: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    free: list[str] = field(default_factory=list)
    process: "subprocess.Popen[bytes] | None" = None

    def url(self, database: str = "postgres", host: str = "127.0.0.1") -> str:
        return f"postgresql://podpass:{self.password}@{host}:{self.port}/{database}"

    def make(self) -> None:
        """Create the server's directory."""
        secret = self.folder / "password"
        secret.touch(0o600)
        secret.write_text(self.password)
        _own(self.folder, secret)
        command = [
            str(self.programs / "initdb"),
            *("-D", str(self.folder / "data"), "-U", "podpass", "--auth=password"),
            *(f"--pwfile={secret}", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"),
        ]
        subprocess.run(command, check=True, capture_output=True, **_user())

    def start(self, *, wait: bool = True) -> None:
        given = [
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            f"fsync={'on' if self.fsync else 'off'}",
            "shared_buffers=64MB",
            "max_connections=60",
            *self.settings,
        ]
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data")]
        command += [part for one in given for part in ("-c", one)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, **_user())
        if wait:
            self.wait()

    def wait(self) -> None:
        """Wait until the server accepts connections."""
        import psycopg

        deadline = time.monotonic() + _START_SECONDS
        while True:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
                time.sleep(0.03)
            else:
                return

    def stop(self) -> None:
        """Stop it in fast mode, which closes open connections. Asynchronous code calls it in a thread.

        A client that has connected and sends nothing keeps the server open for a minute, and a client whose
        event loop waits here sends nothing.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self.end(signal.SIGINT)
        else:
            raise AssertionError("call it with asyncio.to_thread")

    def kill(self) -> None:
        """Kill it with all its processes, as a power failure does."""
        assert self.process is not None
        for child in _children(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self.end(signal.SIGKILL)

    def end(self, how: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(timeout=_START_SECONDS)
            self.process = None

    def execute(self, statement: str, *values: Any, database: str = "postgres") -> list[Any]:
        """Execute a statement without podpass, and return its rows."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def fresh(self) -> str:
        """Return the URL of an empty database."""
        if self.free:
            return self.url(self.free.pop())
        name = f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Close all connections to a database of `fresh`, and empty it for the next test."""
        name = url.rpartition("/")[2]
        # Much faster than a new database. Each connection takes 9 ms.
        statements = f"{CLOSE_OTHERS}; DROP SCHEMA public CASCADE; CREATE SCHEMA public"
        self.execute(statements, database=name)
        self.free.append(name)


def several(*servers: Server, database: str = "postgres") -> str:
    """Return the URL of a database that has several servers, as libpq writes it."""
    hosts = ",".join(f"127.0.0.1:{one.port}" for one in servers)
    return f"postgresql://podpass:{servers[0].password}@{hosts}/{database}"


@contextlib.contextmanager
def standby(primary: Server) -> Iterator[Server]:
    """Run a streaming standby; from then on, the primary acknowledges a commit when the standby has it."""
    folder = Path(tempfile.mkdtemp(prefix="podpass-standby-"))
    server = Server(
        primary.programs, folder, free_port(), primary.fsync, (), password=primary.password
    )
    copy = [
        str(primary.programs / "pg_basebackup"),
        *("-D", str(folder / "data"), "-h", "127.0.0.1", "-p", str(primary.port), "-U", "podpass"),
        *("--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--no-password"),
    ]
    try:
        _own(folder)
        environ = {**os.environ, "PGPASSWORD": primary.password}
        subprocess.run(copy, check=True, capture_output=True, env=environ, **_user())
        server.start()
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.execute("SELECT pg_reload_conf()")
        yield server
    finally:
        server.end(signal.SIGINT)
        shutil.rmtree(folder)


@contextlib.contextmanager
def pooler(server: Server, *, size: int = 3) -> Iterator["Pooler"]:
    """Run PgBouncer in transaction mode in front of a server, with few connections to it."""
    program = _pgbouncer()
    folder = Path(tempfile.mkdtemp(prefix="podpass-pgbouncer-"))
    made = Pooler(program, folder, free_port(), server.password)
    lines = [
        *("[databases]", f"* = host=127.0.0.1 port={server.port}", "[pgbouncer]"),
        *("listen_addr = 127.0.0.1", f"listen_port = {made.port}", "unix_socket_dir ="),
        *("auth_type = plain", f"auth_file = {folder / 'users'}", "pool_mode = transaction"),
        *(f"default_pool_size = {size}", "max_client_conn = 200", "server_login_retry = 0.2"),
    ]
    try:
        (folder / "users").touch(0o600)
        (folder / "users").write_text(f'"podpass" "{server.password}"\n')
        (folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
        _own(folder, folder / "users", folder / "pgbouncer.ini")
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)


def _pgbouncer() -> Path:
    """Return the program, or skip the test."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
    if (found := shutil.which("pgbouncer", path=path)) is None and _can_install():
        install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "pgbouncer"]
        subprocess.run(install, check=False, capture_output=True, timeout=300)
        found = shutil.which("pgbouncer", path=path)
    if found is None:
        pytest.skip("PgBouncer: neither on PATH nor in /usr/sbin; install pgbouncer")
    return Path(found)


@dataclass
class Pooler:
    """A PgBouncer whose port stays the same after a restart."""

    program: Path
    folder: Path
    port: int
    password: str = field(repr=False)
    process: "subprocess.Popen[bytes] | None" = None

    def url(self, database: str) -> str:
        return f"postgresql://podpass:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start PgBouncer, and wait until it accepts connections."""
        command = [str(self.program), str(self.folder / "pgbouncer.ini")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, **_user())
        deadline = time.monotonic() + _START_SECONDS
        while True:
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Stop PgBouncer at once, which closes all connections."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=_START_SECONDS)
            self.process = None


@contextlib.contextmanager
def running(*, fsync: bool = False, settings: tuple[str, ...] = ()) -> Iterator[Server]:
    """Run a server; only tests with SIGKILL need `fsync`, others are faster without it."""
    programs = binaries()
    folder = Path(tempfile.mkdtemp(prefix="podpass-postgres-"))
    server = Server(programs, folder, free_port(), fsync, settings)
    try:
        _own(folder)
        server.make()
        server.start()
        yield server
    finally:
        server.end(signal.SIGINT)
        shutil.rmtree(folder)


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _user() -> dict[str, Any]:
    """Return the user for the server, because PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    other = _other()
    return {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": (), "cwd": "/"}


def _other() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _own(*paths: Path) -> None:
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, _other().pw_uid, _other().pw_gid)
