"""What a sample image is, and what is known of it on a machine."""

from collections.abc import Sequence
from dataclasses import dataclass, field

REPOSITORY = "ghcr.io/azure/azure-workload-identity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program that building or running needs.

    Shapes:  `get` says what to install, as in "install Go 1.23 or newer".
    """

    program: str
    get: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of a build, run in the folder that is being built.

    Shapes:  `says` is the progress shown while it runs; `settings` go over the caller's environment.
    """

    says: str
    argv: Sequence[str]
    settings: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An image of the documentation and the program that runs for it here.

    Shapes:  `folder` below examples/samples; `run` with {built} for the built folder; `modules` are what
             this Python must have for the program to run from its sources, without a build.
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
    """Whether a sample can run: by which command, or why not and what to do."""

    command: Sequence[str]
    why: str = ""
    todo: str = ""

    @property
    def ready(self) -> bool:
        return not self.why
