"""Find the example files: next to `src` in a checkout, inside the package when installed."""

from pathlib import Path

import podpass
from podpass.errors import Error


class ExamplesMissing(Error):
    """The example files are missing."""

    code = "examples_missing"
    hint = "install podpass again"


def find_example(name: str, package: Path = Path(podpass.__file__).parent) -> Path:
    """Return the folder of an example. Raises ExamplesMissing."""
    package = package.resolve()
    for folder in (package / "examples", package.parents[1] / "examples"):
        if (folder / name).is_dir():
            return folder / name
    raise ExamplesMissing(f"the files of the example {name} are missing", name=name)
