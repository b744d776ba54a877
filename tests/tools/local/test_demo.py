"""The demo as `make demo` runs it, and what it does when a step goes wrong."""

from pathlib import Path

import pytest

from podpass.tools.local.demo import Demo, DemoFailed, run_demo


async def test_the_demo_tells_each_hop_and_two_ways_to_break() -> None:
    said: list[str] = []
    await run_demo(said.append)
    text = "\n".join(said)
    assert "printed: hello from the vault" in text
    for number, stage in enumerate(
        ("account", "admission", "assertion", "exchange", "resource"), start=1
    ):
        assert f"  {number} {stage}" in text
    assert "its hops:  none" in text
    assert "AADSTS700213" in text
    assert "stopped" in said[-1]


def test_a_step_that_fails_is_told_with_the_commands_own_words(tmp_path: Path) -> None:
    broken = Demo(tmp_path, print)
    with pytest.raises(DemoFailed) as failed:
        broken.podpass("apply", "-f", str(tmp_path / "missing.yaml"))
    assert "apply" in failed.value.message
    assert "missing.yaml" in failed.value.message
