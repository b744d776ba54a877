"""Values, schema, page and the program's settings agree; nothing of it needs Helm."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

import podpass
from charts.authority.rendering import CHART, DEPLOY, ROOT, SETS
from podpass.settings import AuthorityProcessSettings, AuthoritySettings, describe
from podpass.tools.local.seed_file import _SEED

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
GUIDE = (ROOT / "docs" / "guides" / "self-host.md").read_text()
# Helm's own, for charts that another one depends on.
OF_HELM = {"global", "enabled"}
# Kubernetes' own, or the program's, which the page does not repeat.
BELOW = ("affinity.", "settings.", "resources.claims")
# Settings that a value of the chart has, or a Secret, or the place of a mount.
BY_VALUES = {
    "PODPASS_AUTHORITY_ORIGIN",
    "PODPASS_AUTHORITY_TENANT_ID",
    "PODPASS_AUTHORITY_WORKERS",
    "PODPASS_AUTHORITY_SHUTDOWN_DELAY_SECONDS",
    "PODPASS_AUTHORITY_DRAIN_SECONDS",
    "PODPASS_AUTHORITY_ADMIN_ORIGIN",
    "PODPASS_AUTHORITY_DATABASE",
    "PODPASS_AUTHORITY_SEALING_KEY_FILE",
    "PODPASS_AUTHORITY_TLS_CERTIFICATE",
    "PODPASS_AUTHORITY_TLS_KEY",
}


def _keys(tree: dict[str, Any], of: str = "") -> Iterator[str]:
    for key, value in tree.items():
        yield of + key
        if isinstance(value, dict):
            yield from _keys(value, f"{of}{key}.")


def _known(schema: dict[str, Any], of: str = "") -> Iterator[str]:
    for key, one in schema.get("properties", {}).items():
        yield of + key
        if one.get("additionalProperties") is False:
            yield from _known(one, f"{of}{key}.")


def test_every_value_that_the_schema_knows_has_its_default_and_its_line_on_the_page() -> None:
    known = {key for key in set(_known(SCHEMA)) - OF_HELM if not key.startswith(BELOW)}
    assert len(known) > 50
    assert not known - set(_keys(DEFAULTS))
    page = (CHART / "README.md").read_text()
    leaves = {key for key in known if not any(other.startswith(f"{key}.") for other in known)}
    assert not [key for key in sorted(leaves) if f"| `{key}` |" not in page]


def test_every_default_is_known_to_the_schema() -> None:
    below = ("podAnnotations.", "resources.limits.", "resources.requests.")
    assert not {key for key in _keys(DEFAULTS) if not key.startswith(below)} - set(_known(SCHEMA))


def test_no_object_of_the_schema_takes_any_key() -> None:
    """A misspelt key that is taken in silence is a setting that someone believes to be set."""
    free = {"nodeSelector", "podLabels", "podAnnotations", "global"}
    for name, one in SCHEMA["properties"].items():
        if one.get("type") == "object" and name not in free:
            assert one["additionalProperties"] is False, name


def test_every_setting_of_the_authority_can_be_given() -> None:
    kinds = (AuthorityProcessSettings, AuthoritySettings)
    variables = {row["variable"] for kind in kinds for row in describe(kind) if row["variable"]}
    given = set(SCHEMA["properties"]["settings"]["properties"])
    assert variables == given | BY_VALUES
    assert not given & BY_VALUES


def test_a_seed_has_the_keys_that_a_seed_file_has() -> None:
    ours = set(SCHEMA["properties"]["seed"]["properties"]) - {"clusterIssuer"}
    assert ours == set(_SEED) - {"vaults"}  # an authority holds none


def test_every_value_occurs_in_the_sets_that_are_rendered() -> None:
    used = {key for values in SETS.values() for key in _keys(values)}
    known = {key for key in set(_known(SCHEMA)) - OF_HELM if not key.startswith(BELOW)}
    assert known - used == {"tenantID", "image.tag"}


def test_the_example_says_what_has_no_default_and_else_the_defaults() -> None:
    example = yaml.safe_load((DEPLOY / "values.yaml").read_text())
    assert not set(_keys(example)) - set(_keys(DEFAULTS))
    required = {key: example.pop(key) for key in ("origin", "tenantID")}
    assert all(required.values())
    assert not any(DEFAULTS[key] for key in required)
    assert _merged(DEFAULTS, example) == DEFAULTS


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay values over others as Helm does."""
    merged = {
        key: _merged(under[key], value) if isinstance(value, dict) else value
        for key, value in over.items()
    }
    return under | merged


def test_every_value_that_the_guide_gives_is_one_of_the_chart() -> None:
    known = set(_known(SCHEMA))
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    given = [yaml.safe_load(block) for block in blocks if block.startswith("origin:")]
    assert given
    assert not [key for values in given for key in _keys(values) if key not in known]
    spoken = set(re.findall(r"`([a-z]+[A-Za-z]*\.[a-z]+[A-Z]?\w*)`", GUIDE))
    values = {one for one in spoken if one.partition(".")[0] in SCHEMA["properties"]}
    assert {"admin.enabled", "networkPolicy.metricsNamespace"} <= values <= known


def test_chart_image_and_program_are_of_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    versions = {chart["version"], chart["appVersion"], DEFAULTS["image"]["tag"]}
    assert versions == {podpass.__version__}
