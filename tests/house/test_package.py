"""The wheel contains every file that is read at run time."""

import tomllib
from pathlib import Path

import podpass
from podpass.lab.cluster.samples import examples
from podpass.lab.cluster.samples.catalogue import SAMPLES

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]


def test_wheel_contains_the_examples() -> None:
    assert WHEEL["packages"] == ["src/podpass"]
    assert WHEEL["force-include"] == {"examples": "podpass/examples"}
    folder = examples.find_example("quickstart")
    assert folder == ROOT / "examples" / "quickstart"
    assert {path.name for path in folder.glob("*.yaml")} == {"app.yaml", "seed.yaml"}


def test_every_sample_has_sources() -> None:
    assert {path.name for path in examples.find_example("samples").iterdir()} == {
        sample.folder for sample in SAMPLES
    }


def test_examples_are_found_in_an_installed_package(tmp_path: Path) -> None:
    package = tmp_path / "podpass"
    folder = package / "examples" / "quickstart"
    folder.mkdir(parents=True)
    assert examples.find_example("quickstart", package) == folder


def test_package_is_marked_as_typed() -> None:
    assert (ROOT / "src" / "podpass" / "py.typed").is_file()


def test_wheel_contains_every_data_file() -> None:
    package = ROOT / "kubeling" / "src" / "kubeling"
    data = {str(path.relative_to(package)) for path in package.rglob("*.json")}
    assert {"apiserver/releases/1.37/types.json", "apiserver/protobuf.json"} <= data
    assert not {"exclude", "only-include"} & WHEEL.keys()


def test_version_is_defined_once() -> None:
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "src/podpass/__init__.py"
    assert podpass.__version__
