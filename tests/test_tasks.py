"""Work beside other work: it goes on meanwhile, ends with it, and its fault is not lost."""

import asyncio

import pytest

from podpass.tasks import beside, end


async def test_work_goes_on_in_the_context_and_is_over_when_it_is_left() -> None:
    said: list[str] = []

    async def work() -> None:
        said.append("began")
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            said.append("cleaned up")

    async with beside(work(), "work"):
        await asyncio.sleep(0)
        assert said == ["began"]
        assert "work" in {task.get_name() for task in asyncio.all_tasks()}
    assert said == ["began", "cleaned up"]
    assert "work" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_what_work_failed_with_is_raised_at_the_end() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with beside(fail(), "fails"):
            await asyncio.sleep(0)


async def test_what_never_began_needs_no_end() -> None:
    await end(None)
