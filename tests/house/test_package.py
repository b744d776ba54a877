"""The wheel has every file that is read at run time; docs/develop/resources.md is that of the program."""

import re
import tomllib
from pathlib import Path

import podpass
from podpass.directory.resources import BUILT_IN
from podpass.directory.well_known_resources import ACCOUNT_SUFFIXES
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


PAGE = Path(__file__).parents[2] / "docs/develop/resources.md"


def list_rows(columns: int) -> list[list[str]]:
    """Return the cells of the rows of tables with a number of columns, without the head."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text("utf-8").splitlines()
        if line.startswith("|") and not line.startswith("|---")
    ]
    return [row for row in rows if len(row) == columns and row[0] not in {"resource", "endpoint"}]


def find_literals(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", text))


def test_table_of_resources_agrees_with_the_program() -> None:
    listed = [(row[0], *find_literals(row[1]), find_literals(row[2])) for row in list_rows(4)]
    assert listed == [(one.display_name, one.app_id, one.uris) for one in BUILT_IN]


def test_each_resource_names_a_client_and_its_version() -> None:
    for row in list_rows(4):
        assert re.search(r"\d+\.\d+", row[3]) or "managed identities" in row[3], row[0]


def test_table_of_account_endpoints_agrees_with_the_program() -> None:
    names = {one.app_id: one.display_name for one in BUILT_IN}
    listed = {find_literals(row[0])[0]: row[1] for row in list_rows(2)}
    wanted = {f"https://ACCOUNT.{suffix}": names[id_] for suffix, id_ in ACCOUNT_SUFFIXES.items()}
    assert listed == wanted
