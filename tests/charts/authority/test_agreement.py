"""Values, example and guide agree with the program's settings and its seed; nothing of it needs Helm."""

import re
from typing import Any

import yaml

from charts.authority.rendering import DEPLOY, FILES, ROOT, SETS
from charts.schema import keys
from podpass.settings import AuthorityProcessSettings, AuthoritySettings, describe
from podpass.tools.local.seed_file import _SEED

SCHEMA, DEFAULTS = FILES.schema, FILES.defaults
GUIDE = (ROOT / "docs" / "guides" / "self-host.md").read_text()
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
    used = {key for values in SETS.values() for key in keys(values)}
    assert FILES.ours - used == {"tenantID", "image.tag"}


def test_the_example_says_what_has_no_default_and_else_the_defaults() -> None:
    example = yaml.safe_load((DEPLOY / "values.yaml").read_text())
    assert not set(keys(example)) - set(keys(DEFAULTS))
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


def test_page_and_guide_have_the_secrets_made_before_the_chart_is_installed() -> None:
    """With a seed Helm waits for its Job, whose pod cannot start without the database's."""
    made, _, _ = GUIDE.partition("helm install podpass-authority")
    for name in ("databaseSecret", "sealingKeySecret", "tlsSecret"):
        assert re.search(rf"create secret \w+ {DEFAULTS[name]} ", made), name
    assert "Make them before `helm install`" in FILES.page


def test_every_value_that_the_guide_gives_is_one_of_the_chart() -> None:
    known = FILES.known
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    given = [yaml.safe_load(block) for block in blocks if block.startswith("origin:")]
    assert given
    assert not [key for values in given for key in keys(values) if key not in known]
    spoken = set(re.findall(r"`([a-z]+[A-Za-z]*\.[a-z]+[A-Z]?\w*)`", GUIDE))
    values = {one for one in spoken if one.partition(".")[0] in SCHEMA["properties"]}
    assert {"admin.enabled", "networkPolicy.metricsNamespace"} <= values <= known
