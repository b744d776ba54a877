"""Test suites of Go projects, built from their modules, against kubeling in place of envtest."""

import os
import re
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from kubeling.controllers.controller_manager import ControllerManager
from kubeling.controllers.workqueue import Key

import kubeling
from bench.peers.build import CONTROLLER_RUNTIME, module_folder
from tests.programs import built
from tests.run_program import run_text

_SECONDS = 900
_TABLE = tomllib.loads(Path(__file__).with_name("specs_of_controllers.toml").read_text())


@dataclass(frozen=True, kw_only=True)
class GoSuite:
    """The suite of a Go package.

    Args:
        passed: The number of specs that passed when this row was written.
    """

    package: str
    passed: int

    @property
    def of_controllers(self) -> frozenset[str]:
        """Return the names of the specs that may fail, but pass without the controllers."""
        groups = _TABLE.get(self.package, {}).get("failures", ())
        return frozenset(f"[It] {spec}" for group in groups for spec in group["specs"])

    def check(self, passed: int, failures: Mapping[str, str]) -> None:
        """Check the outcome: how many specs passed, and the messages of those that failed."""
        print(f"{self.package}: {passed} passed, {len(failures)} failed")
        assert not failures.keys() - self.of_controllers
        assert passed >= self.passed


SEALED_SECRETS_SUITE = GoSuite(package="sealed-secrets", passed=41)
SUITES = tuple(
    GoSuite(package=package, passed=passed)
    for package, passed in (
        *(("builder", 72), ("cache", 275), ("client", 258)),
        *(("controller", 30), ("manager", 107)),
    )
)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.package)
def test_suite_of_controller_runtime(suite: GoSuite, tmp_path: Path) -> None:
    suite.check(*run_controller_runtime(suite, tmp_path))


@pytest.mark.parametrize(
    "suite", [each for each in SUITES if each.of_controllers], ids=lambda suite: suite.package
)
def test_specs_that_fail_for_controllers_pass_without_them(
    suite: GoSuite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if a spec of the table fails for another reason than the one that the table gives."""
    absent = _TABLE[suite.package]["controllers"]
    dispatch = ControllerManager._dispatch

    async def dispatch_others(manager: ControllerManager, key: Key) -> float | None:
        return None if key[0] in absent else await dispatch(manager, key)

    monkeypatch.setattr(ControllerManager, "_dispatch", dispatch_others)
    names = "|".join(re.escape(each.removeprefix("[It] ")) for each in suite.of_controllers)
    focus = f"--ginkgo.focus=({names})$"
    passed, failures = run_controller_runtime(suite, tmp_path, focus)
    assert not failures
    assert passed >= len(suite.of_controllers)


def run_controller_runtime(
    suite: GoSuite, tmp_path: Path, *arguments: str
) -> tuple[int, dict[str, str]]:
    """Run a suite of controller-runtime on a cluster of its own."""
    name = f"controller-runtime-{suite.package}"
    binary = built(name)
    folder = module_folder(name, CONTROLLER_RUNTIME) / "pkg" / suite.package
    with kubeling.Cluster(node=False) as cluster:
        environ = cluster.env() | {"USE_EXISTING_CLUSTER": "true"}
        return run_ginkgo(binary, folder, environ, tmp_path / "report.xml", *arguments)


def run_ginkgo(
    binary: Path, folder: Path, environ: Mapping[str, str], report: Path, *arguments: str
) -> tuple[int, dict[str, str]]:
    """Run the specs of a test binary; return how many passed, and the messages of those that failed."""
    done = run_text(
        [binary, f"--ginkgo.junit-report={report}", "--ginkgo.seed=1", *arguments],
        cwd=folder,
        env=os.environ | environ,
        timeout=_SECONDS,
    )
    assert report.exists(), done.stdout[-3000:] + done.stderr[-3000:]
    passed, failures = 0, {}
    for case in ET.parse(report).getroot().iter("testcase"):
        if not case.attrib["name"].startswith("[It]"):  # the setup and the teardown of the suite
            assert case.attrib["status"] == "passed", case.attrib["name"]
            continue
        faults = [each for each in case if each.tag in ("failure", "error")]
        passed += case.attrib["status"] == "passed"
        for each in faults:
            failures[case.attrib["name"]] = f"{each.attrib.get('message')} {each.text}"
    return passed, failures
