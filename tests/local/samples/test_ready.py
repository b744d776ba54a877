"""Whether a sample can run, and what is said where it cannot."""

from pathlib import Path

import pytest

from podpass.local.samples.catalogue import SAMPLES, by_image, by_name
from podpass.local.samples.model import REPOSITORY, Sample
from podpass.local.samples.ready import Found, judge, missing

BUILT = Path("/cache/it")


def sample(name: str) -> Sample:
    found = by_name(name)
    assert found is not None
    return found


def test_a_sample_is_found_by_its_image_and_by_its_short_name() -> None:
    assert {each.name for each in SAMPLES} == {
        *("msal-python", "msal-node", "msal-go", "msal-java", "msal-net")
    }
    for each in SAMPLES:
        assert by_image(f"{REPOSITORY}/{each.name}") is each
        assert by_name(each.name) is each
    assert by_image("msal-go") is None
    assert by_name("other") is None


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("msal-go", ("/cache/it/sample",)),
        ("msal-node", ("node", "/cache/it/index.js")),
        ("msal-net", ("dotnet", "/cache/it/out/sample.dll")),
    ],
)
def test_what_is_built_runs_from_its_folder(name: str, command: tuple[str, ...]) -> None:
    readiness = judge(sample(name), Found(built=BUILT), lambda _: True)
    assert (readiness.ready, tuple(readiness.command)) == (True, command)


def test_a_build_needs_its_language_again_only_where_that_runs_it() -> None:
    assert judge(sample("msal-go"), Found(built=BUILT), lambda _: False).ready
    java = judge(sample("msal-java"), Found(built=BUILT), lambda _: False)
    assert (java.ready, java.why) == (False, "java is not on the PATH")
    assert java.todo == "install a Java runtime, 17 or newer"


def test_what_is_not_built_names_the_command() -> None:
    readiness = judge(sample("msal-go"), Found(built=None), lambda _: True)
    assert readiness.why == "it is not prepared yet"
    assert readiness.todo == "podpass image prepare msal-go"


def test_every_tool_that_is_missing_is_named_with_its_cure() -> None:
    readiness = judge(sample("msal-java"), Found(built=None), lambda _: False)
    assert readiness.why == "javac and mvn and java are not on the PATH"
    assert readiness.todo.startswith("install a JDK, 17 or newer, install Maven")
    assert readiness.todo.endswith("; then: podpass image prepare msal-java")
    net = missing(sample("msal-net"), lambda _: False)
    assert [tool.program for tool in net] == ["dotnet"]


def test_the_python_sample_runs_unbuilt_where_this_python_has_its_modules() -> None:
    found = Found(built=None, sources=Path("/samples/python"), python="/venv/bin/python")
    readiness = judge(sample("msal-python"), found, lambda _: False)
    assert tuple(readiness.command) == ("/venv/bin/python", "/samples/python/main.py")
