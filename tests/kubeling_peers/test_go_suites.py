"""Test suites of Go projects, built from their modules, against kubeling in place of envtest."""

import os
import re
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import kubeling
from bench.peers.build import CONTROLLER_RUNTIME, module_folder

_SECONDS = 900
_CONTROLLERS_ACT = (
    "envtest runs no controllers, and the test compares a Deployment or the ConfigMaps of a namespace with"
    " what it has written itself"
)
# What the controllers of a cluster write, in the message of a test that expects no other writer.
_OF_CONTROLLERS = re.compile(
    r"the object has been modified|kube-controller-manager|kube-root-ca\.crt"
    r"|deployment\.kubernetes\.io/revision|ObservedGeneration: 1"
)


@dataclass(frozen=True, kw_only=True)
class GoSuite:
    """The suite of a Go package.

    Args:
        passed: The number of specs that passed when this row was written.
        failed: Why a spec fails, by a part of its name; others may fail for what controllers write only.
    """

    package: str
    passed: int
    failed: Mapping[str, str] = field(default_factory=dict)

    def check(self, passed: int, failures: Mapping[str, str]) -> None:
        """Check the outcome: how many specs passed, and the messages of those that failed."""
        print(f"{self.package}: {passed} passed, {len(failures)} failed")
        unexplained = {
            spec
            for spec, message in failures.items()
            if not any(part in spec for part in self.failed) and not _OF_CONTROLLERS.search(message)
        }
        assert not unexplained
        assert passed >= self.passed


SEALED_SECRETS_SUITE = GoSuite(
    package="sealed-secrets",
    passed=29,
    failed={
        "kubeseal": "kubeseal reads the certificate through `services/proxy`, which is not served",
        "should record update failure as an event": "the message about an immutable Secret is another one",
    },
)
SUITES = (
    GoSuite(package="builder", passed=72),
    GoSuite(
        package="cache",
        passed=275,
        failed={"Should list serviceaccounts and find exactly one": _CONTROLLERS_ACT},
    ),
    GoSuite(
        package="client",
        passed=250,
        failed={
            "status patch": _CONTROLLERS_ACT,
            "patch status and preserve type information": _CONTROLLERS_ACT,
            "should refuse an update request for an invalid change": _CONTROLLERS_ACT,
            "should propagate a typed error": "the message of an immutable field is another one",
        },
    ),
    GoSuite(package="controller", passed=30),
    GoSuite(package="manager", passed=107),
)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.package)
def test_suite_of_controller_runtime(
    suite: GoSuite, built: Callable[[str], Path], tmp_path: Path
) -> None:
    name = f"controller-runtime-{suite.package}"
    binary = built(name)
    folder = module_folder(name, CONTROLLER_RUNTIME) / "pkg" / suite.package
    with kubeling.Cluster(node=False) as cluster:
        environ = cluster.env() | {"USE_EXISTING_CLUSTER": "true"}
        passed, failures = run_ginkgo(binary, folder, environ, tmp_path / "report.xml")
    suite.check(passed, failures)


def run_ginkgo(
    binary: Path, folder: Path, environ: Mapping[str, str], report: Path, *arguments: str
) -> tuple[int, dict[str, str]]:
    """Run the specs of a test binary; return how many passed, and the messages of those that failed."""
    done = subprocess.run(
        [binary, f"--ginkgo.junit-report={report}", "--ginkgo.seed=1", *arguments],
        cwd=folder,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    assert report.exists(), done.stdout[-3000:] + done.stderr[-3000:]
    passed, failures = 0, {}
    for case in ET.parse(report).getroot().iter("testcase"):
        if not case.attrib["name"].startswith("[It]"):  # the set-up and the end of the suite
            assert case.attrib["status"] == "passed", case.attrib["name"]
            continue
        faults = [each for each in case if each.tag in ("failure", "error")]
        passed += case.attrib["status"] == "passed"
        for each in faults:
            failures[case.attrib["name"]] = f"{each.attrib.get('message')} {each.text}"
    return passed, failures
