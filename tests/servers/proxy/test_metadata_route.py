"""The route to the metadata address; `test_ipv6.py` adds it in a network namespace."""

import errno
import os

import pytest

from podpass.servers.proxy import metadata_route
from podpass.servers.proxy.metadata_route import RouteFailed


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENODEV], ids=os.strerror)
def test_kernel_that_refuses_the_request_is_reported(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(_: str) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(metadata_route, "_has_route", lambda _: False)
    monkeypatch.setattr(metadata_route, "_add", refuse)
    with pytest.raises(RouteFailed, match=os.strerror(code)) as failed:
        metadata_route.ensure_route("169.254.169.254")
    assert ("NET_ADMIN" in failed.value.hint) is (code == errno.EPERM)
