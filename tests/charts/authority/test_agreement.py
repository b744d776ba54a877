"""Values, example and guide are consistent with the program's settings and its seed; without Helm."""

import re
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator  # type: ignore[import-untyped]

from podpass.directory import rules
from podpass.directory.model import IdentityKind
from podpass.errors import UsageError
from podpass.seed.model import _CREDENTIAL, _IDENTITY, _SEED, parse_seed
from podpass.seed.resources import KEYS
from podpass.settings import AuthorityProcessSettings, AuthoritySettings, describe
from tests.charts.authority.rendering import DEPLOY, FILES, ROOT, SETS
from tests.charts.schema import keys

SCHEMA, DEFAULTS = FILES.schema, FILES.defaults
GUIDE = (ROOT / "docs/operate/self-host.md").read_text()
# Settings that a value of the chart, a Secret or a mount sets.
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
    "PODPASS_AUTHORITY_CLUSTER_ISSUER",
    "PODPASS_AUTHORITY_CLUSTER_SERVER",
    "PODPASS_AUTHORITY_CLUSTER_CA_FILE",
    "PODPASS_AUTHORITY_CLUSTER_TOKEN_FILE",
}


def test_every_authority_setting_can_be_set_by_a_value() -> None:
    kinds = (AuthorityProcessSettings, AuthoritySettings)
    variables = {row["variable"] for kind in kinds for row in describe(kind) if row["variable"]}
    given = set(SCHEMA["properties"]["settings"]["properties"])
    assert variables == given | BY_VALUES
    assert not given & BY_VALUES


def test_seed_value_has_the_keys_of_a_seed_file() -> None:
    ours = set(SCHEMA["properties"]["seed"]["properties"]) - {"clusterIssuer"}
    # The chart has no key vault.
    assert ours == set(_SEED) - {"vaults"}


def test_seed_schema_equals_that_of_a_seed_file() -> None:
    seed = SCHEMA["properties"]["seed"]["properties"]
    identity, resource = seed["identities"]["items"], seed["resources"]["items"]
    credential = identity["properties"]["federated_credentials"]["items"]
    shapes = ((identity, _IDENTITY), (credential, _CREDENTIAL), (resource, KEYS))
    for shape, keys_ in shapes:
        assert set(shape["properties"]) == set(keys_)
        assert shape["additionalProperties"] is False
    assert identity["properties"]["kind"]["enum"] == list(IdentityKind)
    assert identity["properties"]["federated_credentials"]["maxItems"] == rules.MAX_CREDENTIALS


_TRUST = {"name": "web", "issuer": "https://a.example", "subject": "a"}
_TAKEN: list[dict[str, Any]] = [
    {"name": "web"},
    {"name": "a" * 128, "kind": "managed-identity"},
    {"name": "An app's name!", "kind": "application"},
    {"name": "web", "client_id": "AAAAAAAA-0000-4000-8000-000000000000"},
    {"name": "web", "federated_credentials": []},
    {"name": "web", "federated_credentials": [_TRUST]},
    {"name": "web", "federated_credentials": [{**_TRUST, "issuer": "cluster"}]},
    {"name": "web", "federated_credentials": [{**_TRUST, "audiences": ["b"], "description": ""}]},
]
_REFUSED: list[Any] = [
    "web",
    {},
    {"name": ""},
    {"name": 1},
    {"name": "ab"},
    {"name": "my web"},
    {"name": "a" * 129},
    {"name": "a" * 257, "kind": "application"},
    {"name": "web", "client_idd": "x"},
    {"name": "web", "client_id": "x"},
    {"name": "web", "client_id": 1},
    {"name": "web", "kind": "user"},
    {"name": "web", "federated_credentials": [{"name": "web"}]},
    {"name": "web", "federated_credentials": [_TRUST] * 21},
    *(
        {"name": "web", "federated_credentials": [{**_TRUST, key: value}]}
        for key, value in (
            ("name", "w"),
            ("issuer", "http://a.example"),
            ("issuer", "cluter"),
            ("issuer", "https://a.example/" + "a" * 600),
            ("subject", ""),
            ("subject", "repo:*"),
            ("subject", "a\nb"),
            ("subject", "a" * 601),
            ("audiences", []),
            ("audiences", ["a", "b"]),
            ("audiences", "a"),
            ("description", "a" * 601),
            ("subjects", "a"),
        )
    ),
]


@pytest.mark.parametrize("identity", _TAKEN)
def test_schema_accepts_seeds_that_the_command_accepts(identity: dict[str, Any]) -> None:
    Draft7Validator(SCHEMA["properties"]["seed"]).validate({"identities": [identity]})
    assert parse_seed(yaml.safe_dump({"identities": [identity]}), "seed.yaml").identities


@pytest.mark.parametrize("identity", _REFUSED)
def test_command_refuses_seeds_that_the_schema_refuses(identity: Any) -> None:
    """The schema refuses an invalid seed before the installation; without it the seed Job would fail."""
    assert not Draft7Validator(SCHEMA["properties"]["seed"]).is_valid({"identities": [identity]})
    with pytest.raises(UsageError):
        parse_seed(yaml.safe_dump({"identities": [identity]}), "seed.yaml")


_URIS = {"name": "ledger", "uris": ["https://ledger.example"]}
_TAKEN_RESOURCES: list[dict[str, Any]] = [
    _URIS,
    {**_URIS, "name": "A ledger!"},
    {**_URIS, "name": "a" * 256},
    {**_URIS, "application_id": "5A0C6D6E-0000-4000-8000-00000000abcd"},
    {**_URIS, "permissions": []},
    {**_URIS, "permissions": ["user_impersonation", "Entries.Read-All", "a" * 120]},
    *(
        {"name": "ledger", "uris": [uri, "api://second"]}
        for uri in (
            *("api://ledger", "api:///ledger", "urn:ledger", "HTTPS://ledger.example/"),
            *("https://ledger.example:8443/a/b?#", "https://[::1]/a"),
            *("a+b.c-d:x", "api://" + "a" * 249),
        )
    ),
]
_REFUSED_RESOURCES: list[Any] = [
    "ledger",
    {},
    {"name": "ledger"},
    {"uris": ["api://ledger"]},
    *(
        {**_URIS, key: value}
        for key, value in (
            ("name", ""),
            ("name", 1),
            ("name", "a\nb"),
            ("name", "a" * 257),
            ("uri", "api://ledger"),
            ("application_id", ""),
            ("application_id", "ledger"),
            ("application_id", 1),
            ("uris", []),
            ("uris", None),
            ("uris", "api://ledger"),
            ("permissions", "read"),
            ("permissions", [""]),
            ("permissions", [1]),
            ("permissions", ["a b"]),
            ("permissions", ["1a"]),
            ("permissions", ["a" * 121]),
        )
    ),
    *(
        {"name": "ledger", "uris": [uri]}
        for uri in (
            *("", 1, "ledger", "1a:ledger", "://ledger", "api:", "api://", "api:///", "api://?a"),
            *("api://ledger?a=b", "api://ledger#a", "api://ledger#?", "api://*", "api://led ger"),
            *("api://led\tger", "api://l\u00e9dger", "api://" + "a" * 250),
        )
    ),
]


@pytest.mark.parametrize("resource", _TAKEN_RESOURCES)
def test_schema_accepts_resources_that_the_command_accepts(resource: dict[str, Any]) -> None:
    Draft7Validator(SCHEMA["properties"]["seed"]).validate({"resources": [resource]})
    assert parse_seed(yaml.safe_dump({"resources": [resource]}), "seed.yaml").resources


@pytest.mark.parametrize("resource", _REFUSED_RESOURCES)
def test_command_refuses_resources_that_the_schema_refuses(resource: Any) -> None:
    assert not Draft7Validator(SCHEMA["properties"]["seed"]).is_valid({"resources": [resource]})
    with pytest.raises(UsageError):
        parse_seed(yaml.safe_dump({"resources": [resource]}), "seed.yaml")


def test_every_chart_value_is_in_a_set_of_values_that_a_test_renders() -> None:
    used = {key for values in SETS.values() for key in keys(values)}
    assert FILES.ours - used == {"tenantID", "image.tag"}


def test_example_sets_required_values_and_otherwise_the_defaults() -> None:
    example = yaml.safe_load((DEPLOY / "values.yaml").read_text())
    assert not set(keys(example)) - set(keys(DEFAULTS))
    required = {key: example.pop(key) for key in ("origin", "tenantID")}
    assert example["image"].pop("repository")
    assert all(required.values())
    assert not any(DEFAULTS[key] for key in required)
    assert not DEFAULTS["image"]["repository"]
    assert _merged(DEFAULTS, example) == DEFAULTS


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge values over others as Helm does."""
    merged = {
        key: _merged(under[key], value) if isinstance(value, dict) else value
        for key, value in over.items()
    }
    return under | merged


def test_readme_and_guide_create_the_secrets_before_the_installation() -> None:
    """With a seed Helm waits for its Job, whose pod cannot start without the database's Secret."""
    made, _, _ = GUIDE.partition("helm install podpass-authority")
    for name in ("databaseSecret", "sealingKeySecret", "tlsSecret"):
        assert re.search(rf"create secret \w+ {DEFAULTS[name]} ", made), name
    assert "Create them before `helm install`" in FILES.page


def test_every_value_in_the_guide_exists_in_the_chart() -> None:
    known = FILES.known
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    given = [yaml.safe_load(block) for block in blocks if block.startswith("origin:")]
    assert given
    assert not [key for values in given for key in keys(values) if key not in known]
    spoken = set(re.findall(r"`([a-z]+[A-Za-z]*\.[a-z]+[A-Z]?\w*)`", GUIDE))
    values = {one for one in spoken if one.partition(".")[0] in SCHEMA["properties"]}
    assert {"admin.enabled", "networkPolicy.metricsNamespace"} <= values <= known
