"""Clients of JavaScript and Java on kubeling: informers, exec, followed logs, leader election."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.clients import toolchains
from tests.clients.installation import find_tool, run_installation
from tests.clients.toolchains import JAVA_OPTIONS, OLDEST
from tests.kubeling_peers.command import Command, eventually

_PROGRAMS = Path(__file__).with_name("programs")


def node() -> list[str]:
    """Return the program of the newest release that runs on Node 20."""
    files = [_PROGRAMS / "node" / name for name in ("package.json", "client.mjs")]
    folder = toolchains.npm("node-kubeling", files, OLDEST)
    return [find_tool("node"), str(folder / "client.mjs")]


def java(program: str) -> list[str]:
    maven = [find_tool("mvn"), "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"]
    sources = [_PROGRAMS / "java" / f"{name}.java" for name in ("Fabric8", "Official")]
    names = [each.name for each in sources]
    compiler = [find_tool("javac"), "--release", "17", "-d", "classes", "-cp", "lib/*", *names]
    files = [_PROGRAMS / "java" / "pom.xml", *sources]
    folder = run_installation("java-kubeling", files, maven, compiler, newest=False)
    return [find_tool("java"), *JAVA_OPTIONS, "-cp", f"{folder}/classes:{folder}/lib/*", program]


PROGRAMS: dict[str, Callable[[], list[str]]] = {
    "node": node,
    "fabric8": lambda: java("Fabric8"),
    "java": lambda: java("Official"),
}


@pytest.fixture(params=PROGRAMS)
def client(request: pytest.FixtureRequest, command: Callable[..., Command]) -> Command:
    return command(*PROGRAMS[request.param]())


@pytest.fixture
def kubectl(command: Callable[..., Command]) -> Command:
    return command("kubectl")


def test_informer_sees_each_change_once(client: Command, kubectl: Command, tmp_path: Path) -> None:
    def write(verb: str, name: str, value: str) -> None:
        lines = ("apiVersion: v1", "kind: ConfigMap", "metadata:", f"  name: {name}")
        labels = ("  labels: {informer: 'yes'}", f"data: {{value: '{value}'}}")
        kubectl(verb, "-f", "-", given="\n".join((*lines, *labels)))

    write("create", "early", "1")
    with client.running(tmp_path / "log", "informer", "default") as lines:
        seen = ["add early 1"]
        for verb, name, event in (
            ("create", "late", "add late 2"),
            ("replace", "late", "update late 3"),
            ("replace", "early", "update early 4"),
        ):
            eventually(lambda: lines() == seen)
            write(verb, name, event[-1])
            seen.append(event)
        eventually(lambda: lines() == seen)
        kubectl("create", "configmap", "other")  # the selector of the informer does not match
        kubectl("delete", "configmap", "late", "other")
        eventually(lambda: lines() == [*seen, "delete late 3"])


def test_exec_has_stdin_output_and_exit_code(client: Command, kubectl: Command) -> None:
    kubectl("run", "web", "--image=none", "--command", "--", "sleep", "600")
    kubectl("wait", "pod/web", "--for=condition=Ready", "--timeout=60s")
    script = "head -c 5; echo; echo wrong >&2; exit 3"
    done = client("exec", "default", "web", "sh", "-c", script, given="hello")
    assert done.out.split() == ["hello", "exit", "3"]
    assert "wrong" in done.err


def test_log_is_followed_to_its_end(client: Command, kubectl: Command, tmp_path: Path) -> None:
    go = tmp_path / "go"
    script = f"echo first; while [ ! -e {go} ]; do sleep 0.1; done; echo last"
    kubectl("run", "web", "--image=none", "--restart=Never", "--command", "--", "sh", "-c", script)
    kubectl("wait", "pod/web", "--for=condition=Ready", "--timeout=60s")
    with client.running(tmp_path / "log", "log", "default", "web") as lines:
        eventually(lambda: lines() == ["first"])
        go.touch()
        eventually(lambda: lines() == ["first", "last"])


def test_fabric8_elects_another_leader_after_the_end_of_the_first(
    command: Callable[..., Command], kubectl: Command, tmp_path: Path
) -> None:
    def read(field: str) -> str:
        return kubectl("get", "lease", "elected", "-o", f"jsonpath={{.spec.{field}}}").out

    elector, renewals = command(*java("Fabric8")), set[str]()
    with ExitStack() as ending:
        one = elector.running(tmp_path / "one.log", "elect", "default", "one")
        first = ending.enter_context(one)
        eventually(lambda: first() == ["leading"])
        with elector.running(tmp_path / "two.log", "elect", "default", "two") as second:
            # Renewed for longer than a lease lasts: the other process has tried to acquire it.
            while len(renewals) < 9:
                renewals.add(eventually(lambda: {read("renewTime")} - renewals).pop())
            assert (second(), read("holderIdentity")) == ([], "one")
            ending.close()
            eventually(lambda: second() == ["leading"])
            assert (read("holderIdentity"), read("leaseTransitions")) == ("two", "1")
