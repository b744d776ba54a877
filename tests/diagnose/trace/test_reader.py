"""The log in steps: a line in two writes, rotation, a new file, a position that is gone, long lines."""

import random
from pathlib import Path

import pytest

from podpass.diagnose.trace import reader
from podpass.diagnose.trace.reader import START, LogPosition, end_position, read_all, read_hops
from tests.diagnose.trace.test_hop import line


def numbers(log: Path, position: LogPosition = START) -> tuple[list[int], LogPosition]:
    """Read to the end; return the numbers of the hops and the position after them."""
    found: list[int] = []
    while True:
        batch = read_hops(log, position)
        found += [int(hop.fact("number")) for hop in batch.hops]
        position = batch.position
        if batch.is_end:
            return found, position


def write(log: Path, *values: int) -> None:
    with log.open("ab") as file:
        for number in values:
            file.write(line(number=number) + b"\n")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "podpass.log"


def test_missing_log_has_no_hop(log: Path) -> None:
    assert numbers(log) == ([], START)
    assert end_position(log) == START


def test_incomplete_line_is_read_only_when_it_is_complete(log: Path) -> None:
    whole = line(number=2) + b"\n"
    write(log, 1)
    with log.open("ab") as file:
        file.write(whole[:30])
    found, position = numbers(log)
    assert found == [1]
    with log.open("ab") as file:
        file.write(whole[30:])
    assert numbers(log, position)[0] == [2]


def test_rotation_between_two_steps_loses_and_repeats_no_hop(log: Path) -> None:
    write(log, 1)
    _, position = numbers(log)
    write(log, 2)
    log.replace(log.with_name("podpass.log.1"))
    write(log, 3)
    found, position = numbers(log, position)
    assert found == [2, 3]
    log.replace(log.with_name("podpass.log.1"))
    assert numbers(log, position)[0] == []
    write(log, 4)
    assert numbers(log, position)[0] == [4]


def test_position_in_a_deleted_file_continues_with_the_oldest_file(log: Path) -> None:
    write(log, 1, 2, 3)
    _, position = numbers(log)
    log.rename(log.with_name("kept"))  # its inode must not be reused
    write(log, 4)
    assert numbers(log, position)[0] == [4]


def test_truncated_log_is_read_from_its_beginning(log: Path) -> None:
    write(log, 1, 2, 3)
    _, position = numbers(log)
    log.write_bytes(line(number=9) + b"\n")
    assert numbers(log, position)[0] == [9]


def test_new_file_with_the_inode_of_a_deleted_one_is_read_from_its_beginning(log: Path) -> None:
    """Here the same file with another content: as long as before, and longer."""
    write(log, 1)
    _, position = numbers(log)
    for count in (1, 3):
        content = line(time="2026-01-02T03:04:06.000Z", number=2) + b"\n"
        log.write_bytes(content * count)
        assert numbers(log, position)[0] == [2] * count


def test_line_longer_than_a_step_is_skipped(log: Path) -> None:
    write(log, 1)
    with log.open("ab") as file:
        file.write(line(number=2, text="x" * 600_000) + b"\n")
    write(log, 3)
    assert numbers(log)[0] == [1, 3]


def test_one_step_reads_a_bounded_part(log: Path) -> None:
    write(log, *range(5000))
    batch = read_hops(log)
    assert not batch.is_end
    assert batch.position.offset <= reader._CHUNK_BYTES
    assert numbers(log)[0] == [*range(5000)]


def test_reader_continues_after_the_position_of_a_hop(log: Path) -> None:
    write(log, 1, 2, 3)
    second = [*read_all(log)][1]
    position = LogPosition.parse(second.position)
    assert str(position) == second.position
    assert numbers(log, position)[0] == [3]
    assert LogPosition.parse("../x") == START


def test_every_hop_is_read_once_whatever_the_writes_and_rotations(log: Path) -> None:
    draw, position, found, written = random.Random(7), START, list[int](), 0
    for _ in range(60):
        count = draw.randrange(4)
        write(log, *range(written, written + count))
        written += count
        # The writer rotates only when the earlier file has been read.
        if draw.random() < 0.3 and log.exists():
            more, position = numbers(log, position)
            found += more
            log.replace(log.with_name("podpass.log.1"))
        if draw.random() < 0.5:
            more, position = numbers(log, position)
            found += more
    assert found + numbers(log, position)[0] == [*range(written)]
