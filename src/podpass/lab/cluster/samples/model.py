"""Sample images, their build steps, and their readiness."""

from collections.abc import Sequence
from dataclasses import dataclass, field

REPOSITORY = "ghcr.io/azure/azure-workload-identity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program that the build or the run of a sample needs.

    `get` is the installation hint, for example "install Go 1.23 or newer".
    """

    program: str
    get: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of a build; its working directory is the build folder.

    `message` is the progress message; `settings` override the caller's environment.
    """

    message: str
    argv: Sequence[str]
    settings: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A sample image, and the program that runs for it.

    `folder` is relative to examples/samples; `{built}` in `run` is the build folder; if this Python has all
    `modules`, the program runs from its sources without a build.
    """

    name: str
    folder: str
    build_tools: Sequence[Tool]
    run_tools: Sequence[Tool] = ()
    steps: Sequence[Step]
    run: Sequence[str]
    modules: Sequence[str] = field(default=())

    @property
    def image(self) -> str:
        return f"{REPOSITORY}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """The command of a sample that can run, or the reason why it cannot and the resolution.

    `buildable` if the sample only lacks its build.
    """

    command: Sequence[str]
    why: str = ""
    todo: str = ""
    buildable: bool = False

    @property
    def ready(self) -> bool:
        return not self.why
