"""Settings of `podpass authority`: types, problems, and invalid combinations."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from podpass.errors import SettingsError
from podpass.settings import AuthorityProcessSettings, AuthoritySettings, CloudSettings, describe
from podpass.settings.authority_process import default_subscription_id
from podpass.settings.fields import AUTHORITY_PREFIX, CLOUD_PREFIX
from podpass.settings.reading import find_unknown_variables, parse_address, parse_texts

GIVEN = {
    "database": "sqlite:////x.db",
    "sealing_key_file": "/seal.key",
    "tls_certificate": "/tls.crt",
    "tls_key": "/tls.key",
}
TENANT, GUID = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
CLUSTER = "https://kubernetes.default.svc.cluster.local"
EXCHANGE = {
    "origins": (
        "https://a.example,https://b.example:8443",
        ("https://a.example", "https://b.example:8443"),
    ),
    "assertion_algorithms": ("RS256, ES256", ("RS256", "ES256")),
    "token_seconds": ("3600", 3600),
    "issuer_ca_file": ("/ca.pem", Path("/ca.pem")),
    "cluster_issuer": (CLUSTER, CLUSTER),
    "uniform_refusals": ("true", True),
    "administrators": (f"{TENANT},{GUID}", (TENANT, GUID)),
    "private_issuers": ("10.20.0.0/16,issuer.internal", ("10.20.0.0/16", "issuer.internal")),
}
PROCESS = {
    "workers": ("3", 3),
    "stuck_seconds": ("2.5", 2.5),
    "trusted_proxies": ("10.0.0.0/8", ("10.0.0.0/8",)),
    "tls_key": ("/k", Path("/k")),
}


def _problems(**given: str) -> list[str]:
    _, problems = parse_texts(AuthorityProcessSettings, {**GIVEN, **given})
    return problems


@pytest.mark.parametrize("name", sorted(EXCHANGE))
def test_exchange_setting_is_parsed_by_its_type(name: str) -> None:
    text, value = EXCHANGE[name]
    made, problems = parse_texts(AuthoritySettings, {name: text})
    assert problems == []
    assert getattr(made, name) == value


@pytest.mark.parametrize("name", sorted(PROCESS))
def test_process_setting_is_parsed_by_its_type(name: str) -> None:
    text, value = PROCESS[name]
    made, problems = parse_texts(AuthorityProcessSettings, {**GIVEN, name: text})
    assert problems == []
    assert getattr(made, name) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cluster_issuer", "http://kubernetes.default.svc"),
        ("cluster_issuer", "kubernetes.default.svc"),
        ("cluster_issuer", "https://user@kubernetes.default.svc"),
        ("cluster_server", "https://10.0.0.1:6443/"),
        ("cluster_server", "https://10.0.0.1:6443/api"),
        ("cluster_server", "http://10.0.0.1"),
    ],
)
def test_invalid_address_of_the_cluster_is_refused(name: str, text: str) -> None:
    _, (problem,) = parse_texts(AuthoritySettings, {"cluster_issuer": CLUSTER, name: text})
    assert problem.startswith(f"--{name.replace('_', '-')} {text}: want")


@pytest.mark.parametrize("text", ["https://[fd00::1]:6443", "https://127.0.0.1:6443", "https://a"])
def test_api_server_is_an_origin(text: str) -> None:
    _, problems = parse_texts(
        AuthoritySettings, {"cluster_issuer": CLUSTER, "cluster_server": text}
    )
    assert problems == []


@pytest.mark.parametrize("name", ["cluster_server", "cluster_ca_file", "cluster_token_file"])
def test_settings_of_the_api_server_need_the_issuer_of_the_cluster(name: str) -> None:
    _, problems = parse_texts(AuthoritySettings, {name: "https://10.0.0.1"})
    assert problems == [f"--{name.replace('_', '-')} needs --cluster-issuer"]


def test_origin_is_required_although_the_class_has_a_default() -> None:
    made, problems = parse_texts(AuthoritySettings, {}, required=("origins",))
    assert problems == ["--origin is required (or PODPASS_AUTHORITY_ORIGIN)"]
    assert made is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("workers", "0"),
        ("workers", "65"),
        ("stuck_seconds", "1"),
        ("stuck_seconds", "nan"),
        ("drain_seconds", "inf"),
        ("client_rate", "-1"),
        ("client_burst", "0"),
        ("log_level", "loud"),
        ("trusted_proxies", "10.0.0.1/8"),
        ("health_listen", "8095"),
        ("listen", "host:70000"),
        ("admin_listen", "127.0.0.1:8444"),
        ("admin_origin", "http://x"),
        ("rotation_seconds", "60"),
        ("rotation_seconds", "1e12"),
    ],
)
def test_invalid_settings_of_the_authority_are_refused(name: str, text: str) -> None:
    (problem,) = _problems(**{name: text})
    assert problem.startswith("--")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8443", ("127.0.0.1", 8443)),
        ("[::1]:0", ("::1", 0)),
        (":8095", ("0.0.0.0", 8095)),
    ],
)
def test_address_is_parsed_as_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert parse_address("--listen", text) == address


def test_default_subscription_is_derived_from_the_tenant() -> None:
    made, _ = parse_texts(AuthorityProcessSettings, {**GIVEN, "tenant_id": TENANT})
    assert made is not None
    assert made.subscription == default_subscription_id(TENANT)
    named, _ = parse_texts(
        AuthorityProcessSettings, {**GIVEN, "tenant_id": TENANT, "subscription_id": TENANT}
    )
    assert named is not None
    assert named.subscription == TENANT


def _rows() -> Iterator[Mapping[str, str]]:
    for kind in (AuthorityProcessSettings, AuthoritySettings):
        yield from describe(kind)


def test_every_flag_is_unique_and_has_a_variable() -> None:
    flags = [row for row in _rows() if row["flag"]]
    for row in flags:
        name = row["flag"].removeprefix("--").replace("-", "_").upper()
        assert row["variable"] == f"PODPASS_AUTHORITY_{name}"
    assert len({row["flag"] for row in flags}) == len(flags) > 35


def test_every_flag_is_in_a_help_group() -> None:
    def group(field: Any) -> str:
        return str(field.metadata["group"])

    for kind in (AuthorityProcessSettings, AuthoritySettings):
        assert not [one.name for one in fields(kind) if one.metadata["flag"] and not group(one)]


def test_settings_class_refuses_invalid_values() -> None:
    with pytest.raises(SettingsError, match="--workers 0"):
        AuthorityProcessSettings(
            database="sqlite:////x.db",
            sealing_key_file=Path("/s"),
            tls_certificate=Path("/c"),
            tls_key=Path("/k"),
            workers=0,
        )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("PODPASS_AUTHORITY_DATABSE", "did you mean PODPASS_AUTHORITY_DATABASE?"),
        ("PODPASS_AUTHORITY_PRIVATE_ISSUERS", "did you mean PODPASS_AUTHORITY_PRIVATE_ISSUER?"),
        ("PODPASS_AUTHORITY_", "unset it"),
        ("PODPASS_AUTHORITY_QQQQ", "unset it"),
        ("PODPASS_AUTHORITY_PORTS", "unknown variable"),
    ],
)
def test_misspelt_variable_is_a_problem_with_the_similar_name(name: str, said: str) -> None:
    kinds = (AuthorityProcessSettings, AuthoritySettings)
    [problem] = find_unknown_variables(AUTHORITY_PREFIX, kinds, {name: "", "PODPASS_OTHER": "x"})
    assert problem.startswith(f"{name}: unknown variable; ")
    assert said in problem


def test_variables_of_settings_and_of_kubernetes_services_are_accepted() -> None:
    """Kubernetes sets these in each pod of a namespace with such a Service (enableServiceLinks)."""
    service = "SERVICE_HOST SERVICE_PORT SERVICE_PORT_HTTPS PORT PORT_8443_TCP PORT_8443_TCP_PROTO"
    service += (
        " PORT_8443_TCP_PORT PORT_8443_TCP_ADDR PORT_53_UDP PORT_53_UDP_ADDR PORT_9_SCTP_ADDR"
    )
    for prefix, kinds in (
        (AUTHORITY_PREFIX, (AuthorityProcessSettings, AuthoritySettings)),
        (CLOUD_PREFIX, (CloudSettings,)),
    ):
        settings = {row["variable"]: "x" for kind in kinds for row in describe(kind)}
        links = {
            prefix + more + name: "x"
            for more in ("", "ADMIN_", "2_DB_")
            for name in service.split()
        }
        assert find_unknown_variables(prefix, kinds, {**settings, **links}) == []
