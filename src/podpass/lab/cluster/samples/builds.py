"""Build samples for the pods of an instance: pods that need the same sample share its build."""

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from podpass.lab.cluster.samples.cache import SampleCache
from podpass.lab.cluster.samples.model import Sample
from podpass.lab.cluster.samples.prepare import prepare

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildTime:
    """How long a build took.

    Units: seconds; `total` includes the wait for other builds.
    """

    build: float
    total: float


class SampleBuilds:
    """The builds of one instance; use it as a context manager, which stops them at its end.

    `environ` is the environment of the build tools.
    """

    def __init__(self, cache: SampleCache, environ: Mapping[str, str]) -> None:
        self._cache, self._environ = cache, environ
        self._tasks: dict[str, asyncio.Task[BuildTime]] = {}
        self._stop = threading.Event()

    async def __aenter__(self) -> "SampleBuilds":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def build(self, sample: Sample) -> BuildTime:
        """Build a sample, or wait for its running build.

        Raises ToolsMissing, RegistryUnreachable, BuildFailed, BuildStopped, ExamplesMissing.
        """
        task = self._tasks.get(sample.name)
        if task is None:
            task = self._tasks[sample.name] = asyncio.create_task(self._build(sample))
            task.add_done_callback(lambda _: self._tasks.pop(sample.name, None))
        # A pod that is deleted stops waiting; the build continues for the next pod.
        return await asyncio.shield(task)

    async def _build(self, sample: Sample) -> BuildTime:
        requested = began = time.monotonic()

        def on_start() -> None:
            nonlocal began
            began = time.monotonic()

        def echo(text: str) -> None:
            _log.info("sample_build_progress", extra={"sample": sample.name, "detail": text})

        await asyncio.to_thread(
            prepare, sample, self._cache, self._environ, echo, on_start=on_start, stop=self._stop
        )
        ended = time.monotonic()
        return BuildTime(build=ended - began, total=ended - requested)
