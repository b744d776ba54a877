"""The readiness of a sample, and the reason if it cannot run."""

from pathlib import Path

import pytest

from podpass.lab.cluster.samples.catalogue import SAMPLES, find_by_image, find_by_name
from podpass.lab.cluster.samples.model import REPOSITORY, Sample
from podpass.lab.cluster.samples.ready import SampleLookup, decide_readiness, missing_tools

BUILT = Path("/cache/it")


def sample(name: str) -> Sample:
    found = find_by_name(name)
    assert found is not None
    return found


def test_sample_is_found_by_image_and_by_short_name() -> None:
    assert {each.name for each in SAMPLES} == {
        *("msal-python", "msal-node", "msal-go", "msal-java", "msal-net")
    }
    for each in SAMPLES:
        assert find_by_image(f"{REPOSITORY}/{each.name}") is each
        assert find_by_name(each.name) is each
    assert find_by_image("msal-go") is None
    assert find_by_name("other") is None


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("msal-go", ("/cache/it/sample",)),
        ("msal-node", ("node", "/cache/it/index.js")),
        ("msal-net", ("dotnet", "/cache/it/out/sample.dll")),
    ],
)
def test_built_sample_runs_from_its_folder(name: str, command: tuple[str, ...]) -> None:
    readiness = decide_readiness(sample(name), SampleLookup(built=BUILT), lambda _: True)
    assert (readiness.ready, tuple(readiness.command)) == (True, command)


def test_built_sample_needs_only_its_run_tools() -> None:
    assert decide_readiness(sample("msal-go"), SampleLookup(built=BUILT), lambda _: False).ready
    java = decide_readiness(sample("msal-java"), SampleLookup(built=BUILT), lambda _: False)
    assert (java.ready, java.why) == (False, "java is not on the PATH")
    assert java.todo == "install a Java runtime, 17 or newer"


def test_unbuilt_sample_names_the_prepare_command() -> None:
    readiness = decide_readiness(sample("msal-go"), SampleLookup(built=None), lambda _: True)
    assert readiness.why == "it is not built yet"
    assert readiness.todo == "start a pod with this image, or: podpass image prepare msal-go"
    assert readiness.buildable


def test_every_missing_tool_is_named_with_its_installation_hint() -> None:
    readiness = decide_readiness(sample("msal-java"), SampleLookup(built=None), lambda _: False)
    assert readiness.why == "javac and mvn and java are not on the PATH"
    assert readiness.todo.startswith("install a JDK, 17 or newer, install Maven")
    assert not readiness.buildable
    net = missing_tools(sample("msal-net"), lambda _: False)
    assert [tool.program for tool in net] == ["dotnet"]


def test_python_sample_runs_unbuilt_if_its_modules_are_installed() -> None:
    found = SampleLookup(built=None, sources=Path("/samples/python"), python="/venv/bin/python")
    readiness = decide_readiness(sample("msal-python"), found, lambda _: False)
    assert tuple(readiness.command) == ("/venv/bin/python", "/samples/python/main.py")
