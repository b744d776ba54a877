"""Render the charts with Helm into what is used without Helm: `make manifests`, after a change of a chart.

- `podpass` becomes `src/podpass/manifests/webhook.yaml`, the data of `podpass manifests`: the objects of the
  chart, rendered once for each value, with `{{KEY}}` where a value stands and `$unless` where a value decides
  (see `podpass.manifests.webhook`), and the rules of the values from the chart's schema.
- `podpass-authority` becomes the manifests in `deploy/authority`, with the values of `deploy/values.yaml`.

It needs Helm on the PATH, or Go.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "podpass"
DEPLOY = ROOT / "deploy"
TARGET = ROOT / "src" / "podpass" / "manifests" / "webhook.yaml"
# The chart's values that `podpass manifests --set` accepts.
KEYS = (
    *("azureTenantID", "azureEnvironment", "replicaCount", "logLevel", "priorityClassName"),
    *("image.repository", "image.pullPolicy", "image.release", "image.digest"),
    *("customTokenEndpoint.annotationSuffix", "customTokenEndpoint.audience"),
    *(
        "customTokenEndpoint.azureKubernetesTokenProxy",
        "customTokenEndpoint.azureKubernetesSniName",
    ),
    *("customTokenEndpoint.azureKubernetesCAConfigMapName", "audience", "failurePolicy"),
    *("timeoutSeconds", "tlsMinVersion", "proxyImage", "proxyInitImage", "proxyMode"),
    *("proxyInitPrivileged", "legacyTokenPath", "exemptNamespaces", "events.enabled"),
    *("advice.enabled", "advice.timeoutSeconds", "certManager.enabled", "networkPolicy.enabled"),
    "hostNetwork",
)
# Texts without which the chart renders nothing, and the values that a value needs.
_REQUIRED = ("azureTenantID", "image.repository", "customTokenEndpoint.audience")
_NEEDED_BY = {
    "customTokenEndpoint.annotationSuffix": {"customTokenEndpoint.audience": ""},
    "proxyImage": {"proxyMode": "iptables"},
}
_RULES = ("type", "enum", "pattern", "minimum", "maximum", "maxLength", "description")
# Labels of a release; the static manifest of azure-workload-identity does not have them.
_RELEASE_LABELS = ("app", "chart", "release", "helm.sh/chart")
_SELECTOR = "azure-workload-identity.io/system"
_AUTHORITY = "podpass-authority"
# Lines of a release: labels that Helm needs, and the annotation that replaces the pods in an upgrade.
_OF_A_RELEASE = re.compile(
    r"^ +(app\.kubernetes\.io/(instance|managed-by|version)|helm\.sh/chart|podpass/config): .*\n"
    r"|^ +# Rolls the pods when a setting changes\.\n",
    re.MULTILINE,
)
# Stand for numbers while Helm renders.
_FIRST_NUMBER = 90_001
_TEXT = re.compile(r"param-([A-Za-z.]+)-end")
_MISSING = object()


def build(helm: str) -> str:
    """Return the content of the data file, with this Helm program."""
    defaults, schema = _read_chart()
    on, off = _choose_values(defaults)
    objects: Any = _render(helm, on)
    for key, value in off.items():
        without = _render(helm, {**on, key: value, **_NEEDED_BY.get(key, {})})
        objects = _merge(objects, without, (key, value))
    values = {key: {"default": defaults[key], **schema[key]} for key in KEYS}
    values["image.release"]["default"] = "{{version}}"
    data = {"chart": hash_chart(), "values": values, "objects": objects}
    head = "# Made by `make manifests` from charts/podpass.\n"
    return head + yaml.dump(
        data, Dumper=_Dumper, sort_keys=False, width=110, default_flow_style=None
    )


def build_authority(helm: str) -> dict[Path, str]:
    """Return the manifests of the token service by their files, with this Helm program."""
    command = [helm, "template", _AUTHORITY, str(ROOT / "charts" / _AUTHORITY)]
    command += ["--namespace", "podpass", "--values", str(DEPLOY / "values.yaml")]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    parts = re.findall(
        r"# Source: \S+/templates/([a-z]+\.yaml)\n(.*?)(?=^---$|\Z)", text, re.MULTILINE | re.DOTALL
    )
    head = "# Made by `make manifests` from charts/podpass-authority and deploy/values.yaml.\n"
    return {DEPLOY / "authority" / name: head + _OF_A_RELEASE.sub("", body) for name, body in parts}


def hash_chart() -> str:
    """Return the hash of the chart's files that decide what it renders."""
    files = [*sorted((CHART / "templates").glob("[!N]*.*")), CHART / "values.yaml"]
    files.append(CHART / "values.schema.json")
    # A release changes the version, and nothing else that is rendered.
    texts = (re.sub(rb"(?m)^  release: .*$", b"", path.read_bytes()) for path in files)
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


class _Dumper(yaml.SafeDumper):
    """Write each value in full: a reader finds it where it is used."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 signature of the base class
        return True


def _read_chart() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the default and the rule of each accepted value."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    defaults, rules = {}, {}
    for key in KEYS:
        default, rule = values, schema
        for part in key.split("."):
            default, rule = default[part], rule["properties"][part]
        items = {**rule.get("items", {}), **rule}
        defaults[key], rules[key] = default, {name: items[name] for name in _RULES if name in items}
    return defaults, rules


def _choose_values(defaults: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return values that switch everything on, and the value that switches off what has one."""
    on: dict[str, Any] = {}
    off: dict[str, Any] = {}
    for number, (key, default) in enumerate(defaults.items(), _FIRST_NUMBER):
        match default:
            case bool():
                on[key], off[key] = True, False
            case int():
                on[key] = number
            case list():
                on[key] = [f"param-{key}-end"]
            case _:
                on[key] = f"param-{key}-end"
                if default == "" and key not in _REQUIRED:
                    off[key] = ""
    on["proxyMode"], off["proxyMode"] = "env", "iptables"
    off["priorityClassName"] = ""
    return on, off


def _find_helm() -> str:
    if found := shutil.which("helm"):
        return found
    sys.path.insert(0, str(ROOT))
    from bench.peers.build import build_program

    return str(build_program("helm"))


def _render(helm: str, values: Mapping[str, Any]) -> list[Any]:
    """Render the chart; return its objects in the order of application, with placeholders."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *path, last = key.split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    command = [helm, "template", "release", str(CHART), "--namespace", "param-namespace-end"]
    command += ["--skip-schema-validation", "--values", "-"]
    done = subprocess.run(
        command, input=json.dumps(tree), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    numbers = {number: key for key, number in values.items() if type(number) is int}
    objects = [one for one in yaml.safe_load_all(done.stdout) if one and not _is_hook(one)]
    # The registration is last: the webhook must exist before the API server calls it.
    objects.sort(key=lambda one: one["kind"] == "MutatingWebhookConfiguration")
    return [_replace(one, numbers) for one in objects]


def _is_hook(one: Any) -> bool:
    return "helm.sh/hook" in (one["metadata"].get("annotations") or {})


def _replace(node: Any, numbers: Mapping[int, str]) -> Any:
    """Replace what stands for values by placeholders, and remove what belongs to a release."""
    if isinstance(node, list):
        return [_replace(each, numbers) for each in node]
    if isinstance(node, dict):
        gone = _RELEASE_LABELS if _SELECTOR in node else ()
        members = {key: _replace(value, numbers) for key, value in node.items() if key not in gone}
        if "app.kubernetes.io/version" in members:
            members["app.kubernetes.io/version"] = "{{version}}"
        if "podpass/config" in members:
            members["podpass/config"] = "{{configHash}}"
        return members
    if type(node) is int:
        return f"{{{{{numbers[node]}}}}}" if node in numbers else node
    return _TEXT.sub(r"{{\1}}", node) if isinstance(node, str) else node


def _merge(tree: Any, without: Any, switch: tuple[str, Any]) -> Any:
    """Return a tree that is `without` if the value of `switch` is off, and the given tree otherwise."""
    if isinstance(tree, dict) and "$unless" in tree:
        if "then" not in tree:  # only there if another value is off
            return tree
        return {**tree, "then": _merge(tree["then"], without, switch)}
    if isinstance(tree, dict) and isinstance(without, dict):
        keys = dict.fromkeys([*tree, *without])
        pairs = ((key, tree.get(key, _MISSING), without.get(key, _MISSING)) for key in keys)
        return {key: _merge(one, other, switch) for key, one, other in pairs}
    if isinstance(tree, list) and isinstance(without, list):
        return [_merge(one, other, switch) for one, other in _align(tree, without)]
    if tree == without:
        return tree
    branches = {"then": tree, "else": without}
    return {
        "$unless": list(switch),
        **{name: node for name, node in branches.items() if node is not _MISSING},
    }


def _align(one: list[Any], other: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Pair the items of two lists that describe the same thing."""
    matcher = SequenceMatcher(None, [_identify(x) for x in one], [_identify(x) for x in other])
    for _, from_one, to_one, from_other, to_other in matcher.get_opcodes():
        items, others = one[from_one:to_one], other[from_other:to_other]
        if [_identify(item) for item in items] == [_identify(item) for item in others]:
            yield from zip(items, others, strict=True)
        else:
            yield from ((item, _MISSING) for item in items)
            yield from ((_MISSING, item) for item in others)


def _identify(item: Any) -> str:
    if isinstance(item, dict):
        if "$unless" in item:
            return _identify(item["then"]) if "then" in item else json.dumps(item)
        if "kind" in item and "metadata" in item:
            return f"{item['kind']}/{item['metadata']['name']}"
        if "name" in item:
            return str(item["name"])
    return json.dumps(item)


if __name__ == "__main__":
    program = _find_helm()
    TARGET.write_text(build(program))
    for file, content in build_authority(program).items():
        file.write_text(content)
