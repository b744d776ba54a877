"""Log lines: one per event, with any values."""

import asyncio
import fcntl
import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from podpass import log
from podpass.crypto.secret import Secret

_log = logging.getLogger("podpass.test")


class Terminal(io.StringIO):
    """A stream that reports that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore_loggers() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("podpass", "asyncio", "psycopg")]
    before = [(one, one.handlers[:], one.level, one.propagate) for one in loggers]
    yield
    for one, handlers, level, propagate in before:
        for handler in one.handlers:
            if handler not in handlers:
                handler.close()
        one.handlers[:], one.propagate = handlers, propagate
        one.setLevel(level)


@pytest.mark.parametrize("library", ["psycopg", "psycopg.pq", "asyncio"])
def test_library_message_has_same_format(library: str) -> None:
    stream = io.StringIO()
    log.configure(stream)
    logging.getLogger(library).warning("query cancellation failed: %s\n%s", "timeout", "{")
    [line] = [orjson.loads(text) for text in stream.getvalue().splitlines()]
    assert (line["event"], line["level"], line["logger"]) == ("library_message", "warning", library)
    assert line["said"].startswith("query cancellation failed: timeout")


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_line_break_in_value_does_not_start_a_line(stream: io.StringIO) -> None:
    """Log injection: a subject that has the format of another event."""
    log.configure(stream)
    _log.info("token_refused", extra={"sub": "a\n2026-01-01T00:00:00Z info token_granted\x1b[31m"})
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


def test_log_file_is_readable_by_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "podpass.log"
    file.touch(mode=0o644)
    log.configure(file=file)
    _log.info("token_granted", extra={"sub": "ä"})
    logging.getLogger("podpass").handlers[0].close()
    assert file.stat().st_mode & 0o777 == 0o600
    assert "ä" in file.read_text(encoding="utf-8")


def test_large_log_file_is_rotated_and_one_earlier_file_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instance that runs for weeks must not fill its disk with logs."""
    monkeypatch.setattr(log, "MAX_FILE_BYTES", 500)
    file = tmp_path / "podpass.log"
    log.configure(file=file)
    for number in range(40):
        _log.info("token_granted", extra={"number": number})
    logging.getLogger("podpass").handlers[0].close()
    before = tmp_path / "podpass.log.1"
    assert {path.name for path in tmp_path.iterdir()} == {file.name, before.name}
    lines = (before.read_text() + file.read_text()).splitlines()
    assert '"number":39' in lines[-1]
    assert max(path.stat().st_size for path in (file, before)) < 700
    assert {path.stat().st_mode & 0o777 for path in (file, before)} == {0o600}


async def test_lines_of_one_iteration_are_written_together_without_loss(tmp_path: Path) -> None:
    file = tmp_path / "podpass.log"
    log.configure(file=file)
    for number in range(3):
        _log_hop(number)
    assert file.read_text() == ""
    await asyncio.sleep(0)
    assert [line["number"] for line in _read_lines(file)] == [0, 1, 2]
    _log_hop(3)
    logging.getLogger("podpass").handlers[0].close()
    assert [line["number"] for line in _read_lines(file)] == [0, 1, 2, 3]


def test_line_after_the_handlers_are_closed_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asyncio logs an unread error of a task when the task is destroyed, at the end of the process."""
    file = tmp_path / "podpass.log"
    log.configure(file=file)
    logging.getLogger("podpass").handlers[0].close()
    _log.error("task_failed", extra={"number": 1})
    assert [line["number"] for line in _read_lines(file)] == [1]
    assert capsys.readouterr().err == ""


async def test_error_is_written_immediately(tmp_path: Path) -> None:
    file = tmp_path / "podpass.log"
    log.configure(file=file)
    _log_hop(0)
    _log.error("database_lost", extra={"number": 1})
    assert [line["number"] for line in _read_lines(file)] == [0, 1]


def test_lines_of_stopped_loop_do_not_block_next_loop(tmp_path: Path) -> None:
    file = tmp_path / "podpass.log"
    log.configure(file=file)

    async def log_in_next_loop() -> None:
        _log_hop(1)
        await asyncio.sleep(0)

    ended = asyncio.new_event_loop()
    asyncio._set_running_loop(ended)  # a loop that is stopped before its next iteration
    _log_hop(0)
    asyncio._set_running_loop(None)
    ended.close()
    asyncio.run(log_in_next_loop())
    assert [line["number"] for line in _read_lines(file)] == [0, 1]


def test_hop_is_logged_equally_with_and_without_record(tmp_path: Path) -> None:
    """With one handler, no log record is created; with a second handler, it is."""
    file = tmp_path / "podpass.log"
    log.configure(file=file, always={"worker": 3})
    log.correlation_id.set("c")
    _log_hop(0)
    logging.getLogger("podpass").addHandler(logging.NullHandler())
    _log_hop(0)
    direct, by_record = _read_lines(file)
    assert direct | {"time": ""} == by_record | {"time": ""}
    assert list(direct)[:6] == ["time", "level", "logger", "event", "worker", "correlation_id"]
    assert direct["secret"] == "[secret]"
    assert direct["checked"] == ["wire"]


def test_event_below_level_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "podpass.log"
    log.configure(file=file, level="warning")
    _log_hop(0)
    assert file.read_text() == ""


def test_pipe_gets_whole_lines_in_atomic_chunks() -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream:
        log.configure(stream)
        handler = logging.getLogger("podpass").handlers[0]
        assert isinstance(handler, log._JsonHandler)
        lines = [b"a" * 3000, b"b" * 1000, b"c" * 3000]
        assert [len(chunk) for chunk in log._split_chunks(lines)] == [4002, 3001]
        handler._write(lines)
    with os.fdopen(read, "rb") as stream_read:
        assert stream_read.read().split() == lines


_WRITER = """
import logging, sys
from podpass import log
log.configure(sys.stderr, always={"worker": sys.argv[1]})
logger = logging.getLogger("podpass.test")
print("ready", flush=True)
sys.stdin.read()
for number in range(300):
    size = (20, 700, 3500, 9000)[number % 4]
    logger.info("line_written", extra={"number": number, "text": sys.argv[1] * size})
"""


def test_lines_of_two_processes_are_not_mixed() -> None:
    """The lines are longer than the pipe's buffer, which is read slowly and so is often full."""
    read, write = os.pipe()
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=write,
        )
        for name in "ab"
    ]
    os.close(write)
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdin is not None
        writer.stdout.readline()
        writer.stdin.close()
    with os.fdopen(read, "rb", buffering=0) as stream:
        found = bytearray()
        while chunk := stream.read(1000):
            found += chunk
    for writer in writers:
        assert writer.wait(30) == 0
        assert writer.stdout is not None
        writer.stdout.close()
    lines = [orjson.loads(line) for line in bytes(found).splitlines()]
    for name in "ab":
        mine = [line for line in lines if line["worker"] == name]
        assert [line["number"] for line in mine] == list(range(300))
        assert all(set(line["text"]) <= {name, " ", "."} for line in mine)


def test_line_too_long_for_pipe_is_shortened_in_the_middle() -> None:
    text = "begin" + "\n\u00e4" * 9000 + "the error"
    line = orjson.dumps({"event": "e", "traceback": text, "cause": "c" * 5000, "ms": 1.5})
    said = orjson.loads(log._shorten(line))
    assert len(log._shorten(line)) < 4096
    assert list(said) == ["event", "traceback", "cause", "ms"]
    assert said["traceback"].startswith("begin")
    assert said["traceback"].endswith("the error")
    assert said["ms"] == 1.5
    assert log._shorten(orjson.dumps({"event": "e"})) == orjson.dumps({"event": "e"})


def _log_hop(number: int) -> None:
    log.hop(
        _log,
        "asked",
        stage="test",
        asked="it",
        checked=("wire",),
        seconds=0.1,
        number=number,
        secret=Secret("hunter2"),
    )


def _read_lines(file: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in file.read_bytes().splitlines()]
