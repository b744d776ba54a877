"""How many files a process may open, and what it makes of that."""

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from podpass.servers.file_limits import limit_connections, raise_file_limit


@contextmanager
def _limited(most: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_no_more_connections_are_taken_than_files_may_be_opened(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with _limited(1000):
        assert limit_connections(936) == 936
        assert not caplog.records
        assert limit_connections(937) == limit_connections(100_000) == 936
    assert caplog.records[0].getMessage() == "connection_limit_reduced"
    assert caplog.records[0].levelno == logging.WARNING


def test_what_the_system_gives_without_asking_is_taken() -> None:
    with _limited(1000):
        raise_file_limit()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft > 1000 or hard <= 1000
