"""Container logs on disk, and all options to read them."""

import asyncio
from pathlib import Path

import pytest

from kubeling.kubelet.containers import (
    FALLBACK,
    exit_reason,
    termination_message,
)
from kubeling.kubelet.logs import (
    LogActivity,
    LogOptions,
    LogWriter,
    format_timestamp,
    read_log,
    rotated_path,
)

ENDED = LogActivity(ended=True)


class Ticks:
    """A clock that advances one second at each reading."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def write(path: Path, *pieces: bytes, max_bytes: int = 1_000_000) -> LogWriter:
    writer = LogWriter(path, Ticks(), max_bytes)
    for piece in pieces:
        writer.write("stdout", piece)
    return writer


async def text(path: Path, **query: object) -> str:
    options = LogOptions(**query)  # type: ignore[arg-type]  # tests pass valid fields
    return b"".join([data async for data in read_log(path, options, activity=ENDED)]).decode()


async def test_each_log_entry_contains_one_whole_line(tmp_path: Path) -> None:
    write(tmp_path / "l", b"o", b"ne\ntw", b"o\n", b"three").close()
    assert (tmp_path / "l").read_text() == (
        "1970-01-01T00:00:01.000000000Z stdout F one\n"
        "1970-01-01T00:00:02.000000000Z stdout F two\n"
        "1970-01-01T00:00:03.000000000Z stdout P three\n"
    )
    assert await text(tmp_path / "l") == "one\ntwo\nthree"
    assert (tmp_path / "l").stat().st_mode & 0o777 == 0o600


async def test_carriage_returns_and_other_bytes_pass_through(tmp_path: Path) -> None:
    data = b"10%\r20%\r\n\x0b\x1c\xff\n\n"
    write(tmp_path / "l", data).close()
    parts = [part async for part in read_log(tmp_path / "l", LogOptions(), activity=ENDED)]
    assert b"".join(parts) == data


async def test_long_line_is_split_on_disk_and_read_as_one_line(tmp_path: Path) -> None:
    line = "x" * 100_000
    write(tmp_path / "l", line.encode() + b"\nend\n").close()
    assert max(map(len, (tmp_path / "l").read_text().splitlines())) < 17_000
    assert await text(tmp_path / "l") == f"{line}\nend\n"
    assert await text(tmp_path / "l", tail=2) == f"{line}\nend\n"
    stamped = await text(tmp_path / "l", timestamps=True)
    assert stamped.count("Z ") == 2, "one timestamp per line, not per part"


@pytest.mark.parametrize("count", [0, 1, 3, 999, 1000, 5000])
async def test_tail_returns_the_last_lines(tmp_path: Path, count: int) -> None:
    lines = [f"line {number} {'y' * (number % 300)}\n" for number in range(1000)]
    write(tmp_path / "l", "".join(lines).encode()).close()
    assert await text(tmp_path / "l", tail=count) == "".join(
        lines[len(lines) - count if count < 1000 else 0 :]
    )


async def test_since_returns_later_lines(tmp_path: Path) -> None:
    write(tmp_path / "l", b"a\nb\nc\n").close()
    assert await text(tmp_path / "l", since=2.0) == "b\nc\n"
    assert await text(tmp_path / "l", since=2.5) == "c\n"


async def test_limit_returns_the_first_bytes(tmp_path: Path) -> None:
    write(tmp_path / "l", b"first\nsecond\n").close()
    assert await text(tmp_path / "l", limit=8) == "first\nse"


async def test_full_log_deletes_its_older_half(tmp_path: Path) -> None:
    path = tmp_path / "l"
    lines = [f"line {number}\n".encode() for number in range(200)]
    write(path, *lines, max_bytes=4000).close()
    assert rotated_path(path).exists()
    assert path.stat().st_size + rotated_path(path).stat().st_size <= 4000
    shown = await text(path)
    assert shown.endswith("line 198\nline 199\n")
    assert await text(path, tail=60) == b"".join(lines[-60:]).decode(), "the tail spans both halves"


async def test_follow_returns_new_lines_across_rotations(tmp_path: Path) -> None:
    path, activity = tmp_path / "l", LogActivity()
    writer = write(path, b"before\n", max_bytes=2000)
    found: list[bytes] = []

    async def follow() -> None:
        async for data in read_log(path, LogOptions(follow=True, tail=0), activity=activity):
            found.append(data)  # noqa: PERF401 the list is read while it grows

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.05)
    for number in range(40):
        writer.write("stdout", f"line {number}\n".encode())
        await asyncio.sleep(0.3 if number % 20 == 19 else 0)
    writer.close()
    activity.end()
    await asyncio.wait_for(following, 30)
    assert b"".join(found).decode().splitlines() == [f"line {number}" for number in range(40)]


async def test_follow_ends_if_the_container_has_ended(tmp_path: Path) -> None:
    write(tmp_path / "l", b"all\n").close()
    assert await asyncio.wait_for(text(tmp_path / "l", follow=True), 30) == "all\n"


def test_log_timestamps_sort_in_time_order() -> None:
    times = [0.0, 0.5, 1.0, 1.000001, 59.999999, 60.0]
    assert sorted(map(format_timestamp, times)) == [format_timestamp(each) for each in times]


def test_termination_message_comes_from_the_file_or_the_log(tmp_path: Path) -> None:
    message, log = tmp_path / "m", tmp_path / "l"
    write(log, *(f"line {n}\n".encode() for n in range(100))).close()
    message.write_bytes(b"because")
    fallback = {"terminationMessagePolicy": FALLBACK}
    assert termination_message(fallback, message, log, 1) == "because"
    message.write_bytes(b"")
    assert termination_message({}, message, log, 1) == ""
    assert termination_message(fallback, message, log, 0) == ""
    shown = termination_message(fallback, message, log, 1).splitlines()
    assert (shown[0], shown[-1], len(shown)) == ("line 20", "line 99", 80)
    assert termination_message(fallback, tmp_path / "none", tmp_path / "none", 1) == ""
    message.write_bytes(b"x" * 5000)
    assert len(termination_message({}, message, log, 0)) == 4096
    assert (exit_reason(0), exit_reason(1)) == ("Completed", "Error")


def test_full_disk_does_not_end_the_program(tmp_path: Path) -> None:
    """A write to /dev/full fails as on a full disk."""
    path = tmp_path / "0.log"
    path.symlink_to("/dev/full")
    writer = LogWriter(path, lambda: 0.0)
    writer.write("stdout", b"one line\n")
    writer.write("stdout", b"")
    writer.write("stderr", b"")
