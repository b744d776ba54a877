"""Generated pages are up to date; other pages name only files, tests, commands and links that exist."""

import contextlib
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from podpass import settings
from podpass.cli.commands import cli
from podpass.crypto import jose
from podpass.errors import SettingsError
from tests.run_program import run_text

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    str(path.relative_to(ROOT)) for path in [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]
)
STAGES = ("account", "admission", "assertion", "directory", "exchange", "resource")
# What any system has, and what the reference's own file is called.
FOREIGN = {"XDG_STATE_HOME"}


def _read(path: str) -> str:
    full = ROOT / path
    return full.read_text() if full.is_file() else ""


def test_generated_pages_are_up_to_date() -> None:
    done = run_text([sys.executable, "scripts/docs.py", "--check"], cwd=ROOT)
    assert done.returncode == 0, done.stderr + "run `make docs`"


@pytest.mark.parametrize("page", PAGES)
def test_page_names_only_existing_files(page: str) -> None:
    named = re.findall(
        r"`((?:src|tests|docs|examples|bench|scripts)/[\w./-]+?)(?:::[\w]+)?`", _read(page)
    )
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_resolve(page: str) -> None:
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", _read(page))
    folder = (ROOT / page).parent
    assert not [link for link in links if not (folder / link).exists()]


@pytest.mark.parametrize("page", PAGES)
def test_table_of_a_page_has_no_blank_line(page: str) -> None:
    """Fails if rows follow an empty line: they are shown as text, not as a table."""
    assert not re.findall(r"\n\n(\|.*)\n(?!\|[-:| ]+\|\n)", _read(page))


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    listed = set(re.findall(r"^ +- ([\w/-]+\.md)$", _read("mkdocs.yml"), re.MULTILINE))
    pages = {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")}
    # MkDocs would take docs/README.md for the start page, so the site gives it another name.
    pages = {"documentation.md" if page == "README.md" else page for page in pages}
    wanted = {page for page in pages if not page.startswith("decisions/")}
    assert not wanted - listed, "add the page to `nav` in mkdocs.yml"


def test_guide_lists_every_reason_for_an_issuer_failure() -> None:
    sources = (
        "http/fetcher.py",
        "exchange/client_auth/issuer_keys.py",
        "exchange/client_auth/issuer_discovery.py",
    )
    code = "".join(_read(f"src/podpass/{name}") for name in sources)
    reasons = {*re.findall(r'reason="(\w+)"', code), jose.BadKey.code}
    assert len(reasons) > 10
    guide = _read("docs/operate/issuers.md")
    assert not [reason for reason in sorted(reasons) if f"`{reason}`" not in guide]


# ----------------------------------------------------------------------------------------- features


FEATURES = [
    (line["status"], row)
    for section in tomllib.loads(_read("tests/vectors/features.toml"))["section"]
    for line in section["line"]
    for row in line["row"]
]


def _exists(test: str) -> bool:
    path, _, name = test.partition("::")
    if not name:
        return (ROOT / path).exists()
    return bool(re.search(rf"^(async )?def {name}\(", _read(path), re.MULTILINE))


def test_features_name_existing_tests() -> None:
    assert len(FEATURES) > 500
    named = [test for _, row in FEATURES for test in row.get("tests", [])]
    assert not [test for test in named if not _exists(test)]


def test_every_feature_has_a_known_status() -> None:
    assert {status for status, _ in FEATURES} == {"yes", "not yet", "differs on purpose"}


def test_supported_feature_names_its_test() -> None:
    supported = [row for status, row in FEATURES if status == "yes"]
    assert not [
        row["feature"]
        for row in supported
        if not any("::test_" in test for test in row.get("tests", []))
    ]


def test_feature_that_differs_says_how() -> None:
    others = [row for status, row in FEATURES if status == "differs on purpose"]
    assert not [row["feature"] for row in others if not row.get("difference")]


# ----------------------------------------------------------------------------- commands and settings


def _options(command: click.Command, context: click.Context) -> Iterator[click.Parameter]:
    yield from command.params
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _options(child, click.Context(child, info_name=name, parent=context))


def _command_line_variables() -> dict[str, set[str]]:
    """Return the variables of the command line with the flags that each of them sets."""
    offered: dict[str, set[str]] = {}
    for option in _options(cli, click.Context(cli, info_name="podpass")):
        if isinstance(option.envvar, str):
            offered.setdefault(option.envvar, set()).update(option.opts)
    return offered


class _RecordingEnviron(dict[str, str]):
    """An empty environment that records which names were read."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __contains__(self, name: object) -> bool:
        self.names.add(str(name))
        return False


def _variables_read(kind: type[Any]) -> set[str]:
    asked = _RecordingEnviron()
    if hasattr(kind, "from_environ"):
        # Some settings are required, but not those of every process.
        with contextlib.suppress(SettingsError):
            kind.from_environ(asked)
    return asked.names


def _kinds() -> Mapping[str, type[Any]]:
    return {name: kind for name, kind in vars(settings).items() if name.endswith("Settings")}


@pytest.mark.parametrize("name", sorted(_kinds()))
def test_variable_or_flag_of_a_setting_is_used(name: str) -> None:
    kind, offered = _kinds()[name], _command_line_variables()
    own = _variables_read(kind)
    for row in settings.describe(kind):
        if row["variable"] and row["variable"] not in own:
            assert row["flag"] in offered.get(row["variable"], set()), row
        if row["flag"] and not row["variable"]:
            assert hasattr(kind, "from_environ"), row


def test_every_variable_on_the_settings_page_is_used() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "src/podpass").rglob("*.py"))
    known = {*_command_line_variables(), *FOREIGN}.union(
        *(_variables_read(kind) for kind in _kinds().values())
    )
    page = _read("docs/settings.md")
    named = set(re.findall(r"\| `([A-Z][A-Z_]+)` \|", page))
    assert {"PODPASS_DEBUG", "NO_COLOR", "PODPASS_DATA_DIR"} <= named
    assert not [name for name in named - known if f'"{name}"' not in source]


def test_readme_names_existing_commands() -> None:
    text = _read("README.md")
    named = re.findall(r"(?:^\s*|\$\(|`)podpass ([a-z]+)(?: ([a-z]+)\b)?", text, re.MULTILINE)
    context = click.Context(cli, info_name="podpass")
    assert {"env", "up", "identity"} <= {name for name, _ in named}
    for name, noun in named:
        command = cli.get_command(context, name)
        assert command is not None, name
        if isinstance(command, click.Group) and noun:
            assert command.get_command(context, noun) is not None, f"{name} {noun}"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_page_names_existing_make_targets(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", _read("Makefile"), re.MULTILINE))
    named = re.findall(r"(?:^|`|: )make ([a-z-]+)", _read(page), re.MULTILINE)
    assert named
    assert not set(named) - targets
