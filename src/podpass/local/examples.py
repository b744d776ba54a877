"""Where the examples lie: beside the sources in a checkout, inside the package once it is installed."""

from pathlib import Path

from podpass.errors import Error


class ExamplesMissing(Error):
    """The files of the examples are not where they should be."""

    code = "examples_missing"
    hint = "install podpass again"


def find(name: str, here: Path = Path(__file__)) -> Path:
    """Find the folder of one example.

    Errors:  ExamplesMissing.
    """
    here = here.resolve()
    for folder in (here.parents[1] / "examples", here.parents[3] / "examples"):
        if (folder / name).is_dir():
            return folder / name
    raise ExamplesMissing(f"the example {name} is not where it should be", name=name)
