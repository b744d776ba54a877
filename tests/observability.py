"""Reads the observability pack: the expressions of alerts and panels, and the metrics and labels in them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
PACK = ROOT / "deploy" / "observability"
COMPONENTS = ("webhook", "sidecar", "authority")
# Labels that Prometheus adds to each series of a pod.
TARGET = {"job", "namespace", "pod", "instance"}
_SELECTOR = re.compile(r"\b((?:podpass|process|apiserver)_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"(\w+)(=~|!~|!=|=)\"([^\"]*)\"")
_BY = re.compile(r"\bby \(([^)]*)\)")


def alerts(component: str) -> list[dict[str, Any]]:
    """Return the alerts of a component, in the order of the file."""
    text = (PACK / "alerts" / f"{component}.yaml").read_text()
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def expressions(component: str) -> Iterator[tuple[str, str]]:
    """Yield the name of each alert and panel with an expression of it."""
    for rule in alerts(component):
        yield rule["alert"], rule["expr"]
    board = json.loads((PACK / "dashboards" / f"{component}.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def metrics(component: str) -> dict[str, set[str]]:
    """Return the metrics of podpass in the expressions, each with the labels that are used with it."""
    used: dict[str, set[str]] = {}
    for _, expression in expressions(component):
        found = _SELECTOR.findall(expression)
        grouped = {
            label.strip() for labels in _BY.findall(expression) for label in labels.split(",")
        }
        for name, matchers in found:
            if not name.startswith("apiserver_"):
                labels = {label for label, _, _ in _MATCHER.findall(matchers)}
                used.setdefault(name, set()).update((labels | grouped) - TARGET)
    return used


def selected_values(component: str) -> set[tuple[str, str, str]]:
    """Return metric, label and value of each comparison with a metric of podpass."""
    return {
        (name, label, value)
        for _, expression in expressions(component)
        for name, matchers in _SELECTOR.findall(expression)
        for label, operator, text in _MATCHER.findall(matchers)
        if label not in TARGET and not name.startswith("apiserver_")
        for value in (_alternatives(text) if operator in ("=~", "!~") else [text])
    }


def _alternatives(pattern: str) -> list[str]:
    """Return the values of a pattern such as `a|b` or `AADSTS(1|2)`."""
    found = re.fullmatch(r"(\w*)\((.*)\)", pattern)
    prefix, rest = (found[1], found[2]) if found else ("", pattern)
    return [prefix + value for value in rest.split("|")]


def missing(component: str, exposition: str) -> list[str]:
    """Return the metrics and labels of a component that a process does not export."""
    series = [line for line in exposition.splitlines() if line and not line.startswith("#")]
    missing = []
    for name, labels in metrics(component).items():
        own = [line for line in series if re.match(rf"{name}[ {{]", line)]
        if not own:
            missing.append(name)
        missing += [
            f"{name}{{{label}}}"
            for label in sorted(labels)
            if not any(f'{label}="' in x for x in own)
        ]
    return missing
