"""Builds of samples into the cache, with fake tools, and the reason why a sample cannot run."""

import threading
from pathlib import Path

import pytest

from podpass.lab.cluster.samples import cache as cached
from podpass.lab.cluster.samples.catalogue import SAMPLES, find_by_image, find_by_name
from podpass.lab.cluster.samples.model import REPOSITORY, Sample
from podpass.lab.cluster.samples.prepare import (
    BuildFailed,
    BuildStopped,
    RegistryUnreachable,
    ToolsMissing,
    is_network_error,
    prepare,
)
from podpass.lab.cluster.samples.progress import LOCK_FILE
from podpass.lab.cluster.samples.ready import SampleLookup, decide_readiness, missing_tools
from podpass.lab.data.lock import Lock
from tests.lab.cluster.samples.conftest import Machine
from tests.processes import wait_until_ended

GO = 'echo "$CGO_ENABLED $GOFLAGS" > settings; echo "#!/bin/sh" > sample; chmod +x sample'


@pytest.fixture
def go() -> Sample:
    found = find_by_name("msal-go")
    assert found is not None
    return found


def test_sample_is_built_once_from_a_copy_of_its_sources(machine: Machine, go: Sample) -> None:
    machine.tool("go", GO)
    said: list[str] = []
    place = prepare(go, machine.cache, machine.environ, said.append)
    assert (place / "settings").read_text() == "0 -mod=readonly\n"
    assert (place / "main.go").read_text() == (cached.source_folder(go) / "main.go").read_text()
    assert tuple(machine.cache.readiness(go).command) == (str(place / "sample"),)
    assert said[-1] == f"msal-go: built; containers with the image {go.image} run it"
    machine.tool("go", "exit 1")
    assert prepare(go, machine.cache, machine.environ, said.append) == place
    assert said[-1] == f"msal-go: already built, in {place}"


def test_a_sample_can_be_built_again(machine: Machine, go: Sample) -> None:
    machine.tool("go", GO)
    place = prepare(go, machine.cache, machine.environ, print)
    machine.tool("go", GO.replace("CGO_ENABLED", "HOME"))
    assert prepare(go, machine.cache, {**machine.environ, "HOME": "/x"}, print, again=True) == place
    assert (place / "settings").read_text().startswith("/x ")
    assert [path.name for path in machine.cache.root.iterdir() if path.is_dir()] == [place.name]


def test_missing_build_tool_is_reported_with_a_hint_before_the_build(
    machine: Machine, go: Sample
) -> None:
    with pytest.raises(ToolsMissing) as failed:
        prepare(go, machine.cache, machine.environ, print)
    assert "go not found" in failed.value.message
    assert failed.value.hint == "install Go 1.23 or newer; then run it again"
    assert not machine.cache.root.exists()


def test_failed_build_leaves_its_log_and_no_built_folder(machine: Machine, go: Sample) -> None:
    machine.tool("go", 'printf "first\\nmain.go:1: \\033[31mbroken\\n" >&2; exit 2')
    with pytest.raises(BuildFailed) as failed:
        prepare(go, machine.cache, machine.environ, print)
    assert "broken" in failed.value.message
    assert failed.value.message.isprintable()
    log = machine.cache.root / "msal-go.log"
    assert failed.value.hint == f"the complete output is in {log}"
    assert "first" in log.read_text()
    assert list(machine.cache.root.iterdir()) == [log]
    assert machine.cache.readiness(go).why == "it is not built yet"


def test_unreachable_registry_is_reported(machine: Machine, go: Sample) -> None:
    machine.tool("go", 'echo "dial tcp: lookup proxy.example: no such host" >&2; exit 1')
    with pytest.raises(RegistryUnreachable) as failed:
        prepare(go, machine.cache, machine.environ, print)
    assert "go cannot reach its package registry" in failed.value.message
    assert "check the network and the proxy" in failed.value.hint


@pytest.mark.parametrize(
    "said",
    [
        "npm error code ENOTFOUND",
        "WARNING: Retrying after connection broken by 'NewConnectionError(...)'",
        "Could not transfer artifact a:b:pom:1 from/to central: Unknown host index.example",
        "error NU1301: Unable to load the service index for source",
        "dial tcp 192.0.2.1:443: connect: connection refused",
    ],
)
def test_network_errors_of_each_package_client_are_recognized(said: str) -> None:
    assert is_network_error(said)


@pytest.mark.parametrize("said", ["npm error code E404", "undefined: azsecrets.NewClient", ""])
def test_refusal_of_a_registry_is_not_a_network_error(said: str) -> None:
    assert not is_network_error(said)


def test_changed_sources_are_built_in_another_folder(tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text("one")
    first = cached.hash_sources(tmp_path)
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "left.js").write_text("what a build in place leaves")
    assert cached.hash_sources(tmp_path) == first
    (tmp_path / "main.go").write_text("two")
    assert cached.hash_sources(tmp_path) != first


def test_cache_folder_follows_the_xdg_specification() -> None:
    assert cached.cache_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/podpass/samples")
    usual = Path.home() / ".cache" / "podpass" / "samples"
    assert cached.cache_folder({"XDG_CACHE_HOME": "relative"}) == usual
    assert cached.cache_folder({}) == usual


def test_python_sample_needs_no_build_if_the_sdk_is_installed(machine: Machine) -> None:
    python = find_by_name("msal-python")
    assert python is not None
    readiness = machine.cache.readiness(python)
    assert readiness.ready
    assert readiness.command[-1] == str(cached.source_folder(python) / "main.py")


def test_one_build_runs_at_a_time_on_a_machine(machine: Machine, go: Sample) -> None:
    machine.tool("go", GO)
    machine.cache.root.mkdir()
    other = Lock(machine.cache.root / LOCK_FILE)
    assert other.acquire()
    said: list[str] = []

    def echo(text: str) -> None:
        said.append(text)
        if "waiting" in text:
            other.release()

    prepare(go, machine.cache, machine.environ, echo)
    assert said[0] == "msal-go: waiting for another build"
    assert said[-1].startswith("msal-go: built")


def test_waiting_build_can_be_stopped(machine: Machine, go: Sample) -> None:
    machine.tool("go", GO)
    machine.cache.root.mkdir()
    other, stop = Lock(machine.cache.root / LOCK_FILE), threading.Event()
    assert other.acquire()
    with pytest.raises(BuildStopped):
        prepare(go, machine.cache, machine.environ, lambda _: stop.set(), stop=stop)
    other.release()


def test_stopped_build_leaves_no_process_and_no_folder(machine: Machine, go: Sample) -> None:
    """The stop of an instance must not wait for a build of minutes, nor leave its compilers running."""
    pids = machine.folder / "pids"
    machine.tool("go", f"sleep 600 & echo $! > {pids}.tmp; mv {pids}.tmp {pids}; wait")
    stop = threading.Event()

    def stop_when_running() -> None:
        while not pids.exists():
            stop.wait(0.01)
        stop.set()

    watching = threading.Thread(target=stop_when_running)
    watching.start()
    with pytest.raises(BuildStopped):
        prepare(go, machine.cache, machine.environ, print, stop=stop)
    watching.join()
    # On a busy machine, a killed process ends later than the call that kills it.
    wait_until_ended(int(pids.read_text()))
    assert not [path for path in machine.cache.root.iterdir() if path.is_dir()]


def test_folder_of_a_killed_build_is_removed(machine: Machine, go: Sample) -> None:
    machine.tool("go", GO)
    left = machine.cache.root / ".msal-go-abc"
    left.mkdir(parents=True)
    prepare(go, machine.cache, machine.environ, print)
    assert not left.exists()


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
