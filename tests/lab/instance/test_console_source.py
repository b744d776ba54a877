"""What the console of an instance reads of the logs."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from podpass.lab.data.datadir import DataDir
from podpass.lab.instance import console_source
from podpass.lab.instance.console_source import InstanceSource
from tests.diagnose.trace.test_hop import line


class EndlessLog:
    """A log to which a pod writes faster than it is read."""

    is_end = False

    def __init__(self) -> None:
        self.reads = 0

    def read(self) -> list[Any]:
        self.reads += 1
        assert self.reads < 1000, "the log is read without end"
        return []


def _source(folder: Path) -> InstanceSource:
    config = SimpleNamespace(tenant_id="t", direct_origin=str, url=str)
    unused = cast("Any", None)
    return InstanceSource(DataDir(folder), cast("Any", config), unused, unused, list)


async def test_endless_log_is_read_in_a_bounded_number_of_steps(tmp_path: Path) -> None:
    source, log = _source(tmp_path), EndlessLog()
    source._log = cast("Any", log)
    await source.refresh()
    assert log.reads == console_source._MAX_STEPS


async def test_concurrent_page_requests_read_the_log_once(tmp_path: Path) -> None:
    source, log = _source(tmp_path), EndlessLog()
    source._log = cast("Any", log)
    await asyncio.gather(*(source.refresh() for _ in range(5)))
    assert log.reads == console_source._MAX_STEPS


async def test_new_lines_of_the_log_are_in_the_timeline(tmp_path: Path) -> None:
    (tmp_path / "podpass.log").write_bytes(line(outcome="granted") + b"\n")
    source = _source(tmp_path)
    await source.refresh()
    assert [each.hop.outcome for each in source.timeline.newest(9)] == ["granted"]
    with (tmp_path / "podpass.log").open("ab") as log:
        log.write(line(outcome="AADSTS700213") + b"\n")
    await source.refresh()
    assert [each.hop.outcome for each in source.timeline.newest(9)] == ["AADSTS700213", "granted"]
