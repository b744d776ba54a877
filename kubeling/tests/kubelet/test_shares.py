"""A total shared among sources."""

import contextlib

from kubeling.kubelet.relay import Shares


def test_source_that_takes_all_it_can_get_leaves_a_part_to_others() -> None:
    shares = Shares(12)
    with contextlib.ExitStack() as stack:
        for source, expected in (("one", 6), ("two", 3), ("three", 2)):
            held = 0
            while stack.enter_context(shares.hold(source)):
                held += 1
            assert held == expected
    with shares.hold("four") as has_share:
        assert has_share
