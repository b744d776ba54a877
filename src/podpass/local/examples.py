"""Find the example files: next to `src` in a checkout, inside the package when installed."""

from pathlib import Path

from podpass.errors import Error


class ExamplesMissing(Error):
    """The example files are missing."""

    code = "examples_missing"
    hint = "install podpass again"


def find_example(name: str, here: Path = Path(__file__)) -> Path:
    """Return the folder of an example. Raises ExamplesMissing."""
    here = here.resolve()
    for folder in (here.parents[1] / "examples", here.parents[3] / "examples"):
        if (folder / name).is_dir():
            return folder / name
    raise ExamplesMissing(f"the files of the example {name} are missing", name=name)
