"""The webhook's settings, read as in the reference; all problems are reported together."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from podpass import names
from podpass.errors import SettingsError
from podpass.settings import WebhookSettings, describe

TENANT = {"AZURE_TENANT_ID": "tenant"}


def _read(environ: Mapping[str, str] | None = None, *argv: str) -> WebhookSettings:
    return WebhookSettings.from_environ({**TENANT, **(environ or {})}, argv)


def _problems(environ: Mapping[str, str] | None = None, *argv: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        _read(environ, *argv)
    return caught.value.problems


def test_tenant_is_the_only_required_setting() -> None:
    settings = _read()
    assert settings.tenant_id == "tenant"
    assert settings.authority_host == "https://login.microsoftonline.com/"
    assert settings.audience == names.EXCHANGE_AUDIENCE
    assert settings.custom_endpoint_annotation is None
    assert settings.namespace == "azure-workload-identity-system"
    assert settings.log_level == ""
    assert settings.native_sidecar


@pytest.mark.parametrize("environ", [{}, {"AZURE_TENANT_ID": ""}, {"CONFIG_AZURE_TENANT_ID": ""}])
def test_missing_tenant_is_refused(environ: Mapping[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        WebhookSettings.from_environ(environ)
    assert "AZURE_TENANT_ID" in caught.value.problems[0]


@pytest.mark.parametrize("prefixed", ["theirs", ""])
def test_prefixed_variable_takes_precedence_even_if_empty(prefixed: str) -> None:
    settings = _read({"PROXY_IMAGE": "plain", "CONFIG_PROXY_IMAGE": prefixed})
    assert settings.proxy_image == prefixed


@pytest.mark.parametrize(
    ("cloud", "authority"),
    [
        ("", "https://login.microsoftonline.com/"),
        ("AzurePublicCloud", "https://login.microsoftonline.com/"),
        ("AzureCloud", "https://login.microsoftonline.com/"),
        ("AZUREUSGOVERNMENTCLOUD", "https://login.microsoftonline.us/"),
        ("AzureUSGovernment", "https://login.microsoftonline.us/"),
        ("azurechinacloud", "https://login.chinacloudapi.cn/"),
        ("AzureGermanCloud", "https://login.microsoftonline.de/"),
    ],
)
def test_each_cloud_has_its_authority(cloud: str, authority: str) -> None:
    assert _read({"AZURE_ENVIRONMENT": cloud}).authority_host == authority


def test_unknown_cloud_is_refused() -> None:
    (problem,) = _problems({"AZURE_ENVIRONMENT": "InvalidCloud"})
    assert "AZURE_ENVIRONMENT 'InvalidCloud'" in problem


def test_azure_stack_cloud_reads_its_authority_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "cloud.json"
    file.write_text(json.dumps({"activeDirectoryEndpoint": "https://adfs.example/"}))
    environ = {"AZURE_ENVIRONMENT": "AzureStackCloud", "AZURE_ENVIRONMENT_FILEPATH": str(file)}
    assert _read(environ).authority_host == "https://adfs.example/"


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_azure_stack_cloud_without_a_valid_file_is_refused(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "cloud.json"
    if content is not None:
        file.write_text(content)
    environ = {"AZURE_ENVIRONMENT": "AzureStackCloud", "AZURE_ENVIRONMENT_FILEPATH": str(file)}
    assert "AZURE_ENVIRONMENT_FILEPATH" in _problems(environ)[0]


def test_flags_are_parsed() -> None:
    settings = _read(None, "--audience", "api://x", "-log-level=debug", "--disable-cert-rotation=1")
    assert (settings.audience, settings.log_level) == ("api://x", "debug")
    assert settings.disable_cert_rotation is True
    assert settings.refusal_events is True
    assert _read(None, "--refusal-events=false").refusal_events is False
    assert _read(None, "--audience=").audience == names.EXCHANGE_AUDIENCE


def test_custom_endpoint_requires_suffix_and_audience() -> None:
    suffix, audience = (
        "--custom-token-endpoint-annotation-suffix",
        "--custom-token-endpoint-audience",
    )
    settings = _read(None, suffix, "Identity-Binding", audience, "api://binding")
    assert settings.custom_endpoint_annotation == ("azure.workload.identity/use-Identity-Binding")
    assert _problems(None, suffix, "x") == [f"{suffix} needs {audience} too"]
    assert _problems(None, audience, "x") == [f"{audience} needs {suffix} too"]


def test_custom_audience_must_differ_from_the_default() -> None:
    """A token for the custom endpoint must not be valid at Entra."""
    (problem,) = _problems(
        None,
        "--custom-token-endpoint-annotation-suffix=x",
        "--custom-token-endpoint-audience=API://azureadtokenexchange",
    )
    assert "must not be the default audience" in problem


@pytest.mark.parametrize("suffix", ["a/b", "a b", "-", "a.", "x" * 60, "é", "x\n"])
def test_suffix_of_invalid_annotation_is_refused(suffix: str) -> None:
    (problem,) = _problems(
        None,
        f"--custom-token-endpoint-annotation-suffix={suffix}",
        "--custom-token-endpoint-audience=x",
    )
    assert "not a valid annotation key" in problem


@pytest.mark.parametrize("suffix", ["x" * 59, "a.b_c-D", "1"])
def test_suffix_of_valid_annotation_is_accepted(suffix: str) -> None:
    assert _read(
        None,
        f"--custom-token-endpoint-annotation-suffix={suffix}",
        "--custom-token-endpoint-audience=x",
    )


SOURCES = ["DATA", "CONFIGMAP_NAME", "CTB_SIGNER_NAME"]


@pytest.mark.parametrize("missing", SOURCES)
def test_ca_sources_are_mutually_exclusive(missing: str) -> None:
    given = [f"AZURE_KUBERNETES_CA_{name}" for name in SOURCES if name != missing]
    (problem,) = _problems(dict.fromkeys(given, "x"))
    assert problem == f"{given[0]} and {given[1]} are mutually exclusive: set one"


SELECTOR = "AZURE_KUBERNETES_CA_CTB_LABEL_SELECTOR"
SIGNER = {"AZURE_KUBERNETES_CA_CTB_SIGNER_NAME": "example.com/signer"}


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("", None),
        (" \n", None),
        ("{}", {}),
        ('{"matchLabels":{"app":"nginx"}}', {"matchLabels": {"app": "nginx"}}),
        (
            '{"matchExpressions":[{"key":"env","operator":"In"}],"other":1}',
            {"matchExpressions": [{"key": "env", "operator": "In"}]},
        ),
    ],
)
def test_selector_is_parsed_as_json(text: str, selector: Any) -> None:
    assert _read({**SIGNER, SELECTOR: text}).ca_selector == selector


@pytest.mark.parametrize("text", ["not-a-json", "[]", "1", "null"])
def test_selector_that_is_not_a_json_object_is_refused(text: str) -> None:
    (problem,) = _problems({**SIGNER, SELECTOR: text})
    assert problem.startswith(SELECTOR)


def test_selector_without_a_signer_is_refused() -> None:
    (problem,) = _problems({SELECTOR: "{}"})
    assert "needs AZURE_KUBERNETES_CA_CTB_SIGNER_NAME" in problem


@pytest.mark.parametrize(
    "flag",
    [
        "--tls-min-version=1.4",
        "--metrics-backend=statsd",
        "--log-level=warn",
        "--disable-cert-rotation=maybe",
        "--refusal-events=maybe",
        "--nonsense",
        "--audience",
    ],
)
def test_invalid_webhook_flag_is_named(flag: str) -> None:
    (problem,) = _problems(None, flag)
    assert problem.startswith(flag.split("=")[0])


def test_metrics_backend_is_case_insensitive() -> None:
    assert _read(None, "--metrics-backend=Prometheus")


def test_all_invalid_settings_are_reported_together() -> None:
    problems = _problems(
        {"CONFIG_AZURE_TENANT_ID": "", "AZURE_ENVIRONMENT": "Moon", SELECTOR: "x"},
        "--log-level=loud",
        "--nonsense=1",
    )
    assert len(problems) == 5


def test_webhook_settings_are_described() -> None:
    rows = {row["name"]: row for row in describe(WebhookSettings)}
    assert rows["tenant_id"] == {
        "name": "tenant_id",
        "flag": "",
        "variable": "AZURE_TENANT_ID",
        "default": "required",
        "meaning": (
            "default tenant ID of ServiceAccounts without a tenant-id annotation; AZURE_TENANT_ID in pods"
        ),
    }
    assert all(row["meaning"] for row in rows.values())


def test_listen_address_and_shutdown_times_are_read() -> None:
    found = _read(None, "--webhook-addr", "[::1]:1", "--shutdown-delay-seconds=0.5")
    assert (found.webhook_addr, found.shutdown_delay_seconds) == ("[::1]:1", 0.5)


@pytest.mark.parametrize(
    "flag",
    [
        "--webhook-addr=nowhere",
        "--health-addr=:70000",
        "--metrics-addr=9000",
        "--webhook-addr=0",
        "--shutdown-delay-seconds=-1",
        "--shutdown-delay-seconds=nan",
        "--shutdown-delay-seconds=soon",
        "--shutdown-delay-seconds=301",
    ],
)
def test_invalid_address_or_time_is_named(flag: str) -> None:
    (problem,) = _problems(None, flag)
    assert problem.startswith(flag.partition("=")[0])


def test_probes_and_metrics_can_be_disabled() -> None:
    """As in the reference, 0 is not an address."""
    found = _read(None, "--health-addr=0", "--metrics-addr=0")
    assert (found.health_addr, found.metrics_addr) == ("0", "0")
