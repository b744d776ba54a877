"""Renders a chart with many sets of values in one call of Helm, which then reads and parses it only once.

A chart depends on the chart under test once for each set, each time with another alias. Helm validates and
renders each of them with its own values.
"""

import dataclasses
import json
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.charts.rendering import Helm, Object, Values, read_objects

_PARENT = "many"
_REFUSED = "values don't meet the specifications"


@dataclass(frozen=True)
class Rendered:
    """The objects of one set of values, or None and the error."""

    objects: list[Object] | None
    error: str = ""


class ManyReleases:
    """A chart in a new folder that depends on the chart of `helm` many times."""

    def __init__(self, helm: Helm, folder: Path) -> None:
        self._helm = helm
        about = yaml.safe_load((helm.chart / "Chart.yaml").read_text())
        self._name, self._version = about["name"], about["version"]
        self._folder = folder / _PARENT
        shutil.copytree(helm.chart, self._folder / "charts" / self._name)

    def render(self, sets: Sequence[Values]) -> list[Rendered]:
        """Render every set. Helm ends at an error, so sets with errors are removed until it succeeds."""
        found: dict[str, Rendered] = {}
        left = {f"{self._name}-{at:04}": values for at, values in enumerate(sets)}
        names = list(left)
        while left:
            done = self._template(left)
            if done.returncode == 0:
                found |= self._split(done.stdout, left)
                break
            failed = self._failed(done.stderr)
            assert failed, done.stderr
            found |= {name: Rendered(None, done.stderr) for name in failed}
            left = {name: values for name, values in left.items() if name not in failed}
        return [found[name] for name in names]

    def _template(self, sets: dict[str, Values]) -> Any:
        own = {"name": self._name, "version": self._version}
        about = {
            "apiVersion": "v2",
            "name": _PARENT,
            "version": "0.0.0",
            "dependencies": [{**own, "alias": name} for name in sets],
        }
        (self._folder / "Chart.yaml").write_text(json.dumps(about))
        values = {name: self._helm.with_required(one) for name, one in sets.items()}
        helm = dataclasses.replace(self._helm, chart=self._folder, required={})
        return helm(
            "template", helm.release, str(helm.chart), "--namespace", helm.namespace, values=values
        )

    def _failed(self, error: str) -> set[str]:
        """Return the names in an error: of all sets that the schema refuses, or of the one that fails."""
        if _REFUSED in error:
            return set(re.findall(rf"^({self._name}-\d{{4}}):$", error, re.MULTILINE))
        return set(re.findall(rf"execution error at \({_PARENT}/charts/([^/]+)/", error))

    def _split(self, text: str, names: Iterable[str]) -> dict[str, Rendered]:
        texts: dict[str, list[str]] = {name: [] for name in names}
        parts = re.split(
            rf"^---\n# Source: {_PARENT}/charts/([^/]+)/.*\n", text, flags=re.MULTILINE
        )
        for name, part in zip(parts[1::2], parts[2::2], strict=True):
            # The chart has the alias as its name, which is in a label.
            texts[name].append(part.replace(f"{name}-", f"{self._name}-"))
        return {name: Rendered(read_objects("\n---\n".join(each))) for name, each in texts.items()}
