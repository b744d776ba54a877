"""The limit of open files, and the connection limit that depends on it."""

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from podpass.servers.file_limits import limit_connections, raise_file_limit


@contextmanager
def _limit_files(most: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_connection_limit_is_reduced_to_the_file_limit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with _limit_files(1000):
        assert limit_connections(936) == 936
        assert not caplog.records
        assert limit_connections(937) == limit_connections(100_000) == 936
    assert caplog.records[0].getMessage() == "connection_limit_reduced"
    assert caplog.records[0].levelno == logging.WARNING


def test_file_limit_is_raised_to_the_hard_limit() -> None:
    with _limit_files(1000):
        raise_file_limit()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft > 1000 or hard <= 1000
