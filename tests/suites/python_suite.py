"""Runs the test suite of another project's Python package, from its source distribution."""

import os
import subprocess
import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.clients.installation import install_python
from tests.run_program import run_text

_TESTS = ("pytest", "pytest-asyncio", "pytest-timeout")


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The suite of a package.

    Args:
        extra: Packages that its tests need.
        arguments: Arguments for pytest, in the folder of the source distribution.
        passed: The number of tests that passed when this row was written.
        failed: Why podpass or a new server cannot pass a test, by the test's name.
        prepare: Writes files that the source distribution lacks into its folder.
    """

    package: str
    extra: Sequence[str] = ()
    arguments: Sequence[str]
    passed: int
    failed: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Path], None] = lambda _: None

    def run(self, environ: Mapping[str, str], folder: Path, *wrapper: str) -> None:
        """Run it and check its outcome.

        Args:
            wrapper: The beginning of the command line, such as `env`.
        """
        (python,) = install_python(self.package, *self.extra, *_TESTS)
        sources, report = _unpack(python, self.package, folder), folder / "report.xml"
        self.prepare(sources)
        options = ("-q", "-W", "ignore", "-p", "no:cacheprovider", f"--junitxml={report}")
        done = run_text(
            [*wrapper, python, "-m", "pytest", *options, *self.arguments],
            cwd=sources,
            env=os.environ | environ,
        )
        print(done.stdout[-6000:], done.stderr[-2000:])
        passed, failed = 0, set()
        for case in ET.parse(report).getroot().iter("testcase"):
            outcome = {each.tag for each in case}
            passed += not outcome
            if outcome & {"failure", "error"}:
                failed.add(case.attrib["name"])
        print(f"{self.package}: {passed} passed, {len(failed)} failed")
        assert failed == set(self.failed)
        assert passed >= self.passed


def _unpack(python: str, package: str, folder: Path) -> Path:
    """Download the source distribution of the installed release, and return its folder."""
    version = run_text(
        [python, "-c", f"import importlib.metadata as m; print(m.version('{package}'))"], check=True
    ).stdout.strip()
    download = (
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--no-binary",
        package,
        "-d",
        str(folder),
    )
    subprocess.run([python, *download, f"{package}=={version}"], check=True, timeout=300)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    (unpacked,) = (each for each in folder.iterdir() if each.is_dir())
    return unpacked
