"""The target of a proxy request."""

import pytest

from podpass.lab.gateway.proxy_request import BadProxyRequest, split_target


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("example.com:443", ("example.com", 443)),
        ("[::1]:8443", ("::1", 8443)),
        ("example.com", None),
        ("example.com:", None),
        ("example.com:0", None),
        ("example.com:65536", None),
        ("example.com:-1", None),
        ("example.com:\uff14\uff14\uff13", None),
        (":443", None),
        ("::1:443", None),
        ("http://example.com:443", None),
    ],
)
def test_connect_target_is_parsed_into_host_and_port(
    target: str, expected: tuple[str, int] | None
) -> None:
    if expected is None:
        with pytest.raises(BadProxyRequest):
            split_target(target)
    else:
        assert split_target(target) == expected
