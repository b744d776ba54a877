"""Runs a composite action as a runner of GitHub does."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Job(Protocol):
    """A machine that runs scripts with the variables of a job."""

    environ: dict[str, str]

    @property
    def temporary(self) -> Path: ...

    def run(self, script: str, **variables: str) -> str: ...


class Runner:
    """What a runner of GitHub does with the steps of an action: inputs, conditions, and command files."""

    outputs: dict[str, str]

    def __init__(self, job: Job, action: Path) -> None:
        self.job, self.outputs = job, {}
        self._files = {}
        for name in ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH"):
            self._files[name] = job.temporary / name
            self._files[name].touch()
            job.environ[name] = str(self._files[name])
        job.environ |= {"RUNNER_TEMP": str(job.temporary), "GITHUB_ACTION_PATH": str(action)}
        job.environ["PODPASS_BIN"] = str(job.temporary / "podpass/venv/bin/podpass")

    def use(self, action: dict[str, Any], **given: str) -> None:
        """Run the steps of a composite action."""
        inputs = {name: one["default"] for name, one in action["inputs"].items()} | given
        for step in action["runs"]["steps"]:
            assert step["shell"] == "bash"
            if self._applies(step.get("if", ""), inputs):
                env = {
                    name: self._expand(text, inputs) for name, text in step.get("env", {}).items()
                }
                self.run(step["run"], **env)

    def run(self, script: str, **variables: str) -> str:
        """Run a step and read its command files."""
        output = self.job.run(script, **variables)
        self.job.environ |= self._read("GITHUB_ENV")
        self.outputs |= self._read("GITHUB_OUTPUT")
        for line in self._files["GITHUB_PATH"].read_text().split():
            self.job.environ["PATH"] = f"{line}:{self.job.environ['PATH']}"
        self._files["GITHUB_PATH"].write_text("")
        return output

    def _read(self, name: str) -> dict[str, str]:
        text = self._files[name].read_text()
        blocks = re.findall(r"^(\w+)<<(\S+)\n(.*?)\n\2$", text, re.MULTILINE | re.DOTALL)
        lines = re.findall(r"^([\w-]+)=(.*)$", text, re.MULTILINE)
        return dict(lines) | {name: value for name, _, value in blocks}

    def _expand(self, text: str, inputs: Mapping[str, str]) -> str:
        known = {f"inputs.{name}": value for name, value in inputs.items()}
        known["runner.temp"] = str(self.job.temporary)
        return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: known[found[1]], text)

    @staticmethod
    def _applies(condition: str, inputs: Mapping[str, str]) -> bool:
        if not condition:
            return True
        found = re.fullmatch(r"inputs\.(\w+) (==|!=) '(\w*)'", condition)
        assert found, condition
        return (inputs[found[1]] == found[3]) is (found[2] == "==")
