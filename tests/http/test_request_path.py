"""The segments of a path: decoded after the split, strict, bounded."""

import pytest

from podpass.http.request_path import InvalidPath, raw_path, split_path


@pytest.mark.parametrize(
    ("raw", "segments"),
    [
        (b"/", [""]),
        (b"/a/b", ["a", "b"]),
        (b"/a%2Fb/c", ["a/b", "c"]),
        (b"/a//b/", ["a", "", "b", ""]),
        (b"/%C3%A4", ["ä"]),
        (b"", []),
    ],
)
def test_path_is_split_before_it_is_decoded(raw: bytes, segments: list[str]) -> None:
    assert split_path(raw, limit=3) == segments


@pytest.mark.parametrize("raw", [b"/%FF", b"/\xc3\xa4", b"/a%C3"])
def test_path_that_is_not_utf8_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidPath):
        split_path(raw, limit=3)


def test_empty_segments_do_not_count_for_the_limit() -> None:
    assert len(split_path(b"/a//b//c", limit=3)) == 5
    with pytest.raises(InvalidPath):
        split_path(b"/a/b/c/d", limit=3)


def test_raw_path_has_no_query() -> None:
    assert raw_path({"raw_path": b"/a%20b?c", "path": "/a b"}) == b"/a%20b"
    assert raw_path({"path": "/a"}) == b"/a"
