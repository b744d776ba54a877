"""Missing, misspelt and inconsistent values are refused by name before the installation."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from podpass.settings.authority_process import MAX_ROTATION_SECONDS
from tests.charts.authority.rendering import CHART, EVERYTHING, NAMESPACE, AuthorityChart
from tests.charts.rendering import Values, find, read_objects

pytestmark = pytest.mark.kubernetes

TRUST = {"name": "web", "issuer": "cluster", "subject": "system:serviceaccount:default:web"}


@pytest.mark.parametrize(
    ("values", "where", "said"),
    [
        ({"replicas": 2}, "", "'replicas' not allowed"),
        ({"authority": {"workers": 2}}, "", "'authority' not allowed"),
        ({"image": {"release": "1"}}, "/image", "'release' not allowed"),
        ({"admin": {"enable": True}}, "/admin", "'enable' not allowed"),
        ({"service": {"targetPort": 1}}, "/service", "'targetPort' not allowed"),
        ({"podDisruptionBudget": {"min": 1}}, "/podDisruptionBudget", "'min' not allowed"),
        ({"networkPolicy": {"from": []}}, "/networkPolicy", "'from' not allowed"),
        ({"resources": {"limit": {}}}, "/resources", "'limit' not allowed"),
        ({"affinity": {"podAfinity": {}}}, "/affinity", "'podAfinity' not allowed"),
        ({"serviceMonitor": {"label": {}}}, "/serviceMonitor", "'label' not allowed"),
        ({"seed": {"identity": []}}, "/seed", "'identity' not allowed"),
        (
            {"seed": {"identities": [{"name": "web", "client_idd": "x"}]}},
            "/seed/identities/0",
            "'client_idd' not allowed",
        ),
        (
            {"seed": {"identities": [{"name": "web", "federated_credentials": [{"name": "web"}]}]}},
            "/seed/identities/0/federated_credentials/0",
            "missing property 'issuer'",
        ),
        (
            {"seed": {"resources": [{"name": "ledger", "uri": "api://ledger"}]}},
            "/seed/resources/0",
            "'uri' not allowed",
        ),
        (
            {"seed": {"resources": [{"name": "ledger", "uris": ["api://*"]}]}},
            "/seed/resources/0/uris/0",
            "pattern",
        ),
        ({"extraEnv": [{"name": "A", "vale": "b"}]}, "/extraEnv/0", "'vale' not allowed"),
        ({"settings": {"PODPASS_AUTHORITY_WORKER": 1}}, "/settings", "not allowed"),
        ({"settings": {"PODPASS_AUTHORITY_WORKERS": 1}}, "/settings", "not allowed"),
        ({"settings": {"PODPASS_AUTHORITY_DATABASE": "x"}}, "/settings", "not allowed"),
        (
            {"settings": {"PODPASS_AUTHORITY_CONNECTIONS": "many"}},
            "/settings/PODPASS_AUTHORITY_CONNECTIONS",
            "pattern",
        ),
        (
            {"settings": {"PODPASS_AUTHORITY_LISTEN": "0.0.0.0:443"}},
            "/settings/PODPASS_AUTHORITY_LISTEN",
            "pattern",
        ),
        ({"origin": "http://authority.example.com"}, "/origin", "pattern"),
        ({"origin": "https://authority.example.com/"}, "/origin", "pattern"),
        ({"cluster": {"issuer": "kubernetes.default.svc"}}, "/cluster/issuer", "pattern"),
        ({"cluster": {"server": "https://10.96.0.1/"}}, "/cluster/server", "pattern"),
        ({"cluster": {"caConfigMap": ""}}, "/cluster/caConfigMap", "pattern"),
        ({"cluster": {"tokenFile": "x"}}, "/cluster", "'tokenFile' not allowed"),
        ({"tenantID": "contoso"}, "/tenantID", "pattern"),
        ({"tenantID": "AAAAAAAA-0000-4000-8000-000000000000"}, "/tenantID", "pattern"),
        ({"image": {"digest": "sha256:12"}}, "/image/digest", "pattern"),
        ({"image": {"repository": "podpass:1"}}, "/image/repository", "pattern"),
        ({"priorityClassName": "High"}, "/priorityClassName", "pattern"),
        ({"workers": 0}, "/workers", "minimum"),
        ({"replicaCount": "two"}, "/replicaCount", "want integer"),
        (
            {"podDisruptionBudget": {"maxUnavailable": "150%"}},
            "/podDisruptionBudget/maxUnavailable",
            "pattern",
        ),
        ({"replicaCount": 3000000000}, "/replicaCount", "maximum"),
        ({"resources": {"limits": {"memory": "1K"}}}, "/resources/limits/memory", "pattern"),
        ({"service": {"port": 70000}}, "/service/port", "maximum"),
        ({"runAsUser": 0}, "/runAsUser", "minimum"),
        ({"podLabels": {"a": 1}}, "/podLabels/a", "want string"),
        ({"databaseSecret": ""}, "/databaseSecret", "pattern"),
    ],
)
def test_error_names_an_authority_value_with_an_unknown_key_or_a_wrong_type(
    chart: AuthorityChart, values: Values, where: str, said: str
) -> None:
    refusal = chart.refusal(values)
    assert f"at '{where}'" in refusal
    assert said in refusal


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"origin": ""}, "origin is required: the https://host[:port] under which clients reach"),
        ({"tenantID": ""}, "tenantID is required: the GUID of your tenant"),
        (
            {"podDisruptionBudget": {"minAvailable": 1, "maxUnavailable": 1}},
            "podDisruptionBudget.minAvailable and .maxUnavailable exclude each other",
        ),
        ({"admin": {"origin": "https://a"}}, "admin.origin needs admin.enabled=true"),
        ({"admin": {"enabled": True, "port": 443}}, "admin.port and service.port are the same"),
        (
            {"settings": {"PODPASS_AUTHORITY_ADMIN_LISTEN": "[::]:8444"}},
            "needs admin.enabled=true, which opens its port",
        ),
        (
            {"seed": {"identities": [{"name": "web", "federated_credentials": [TRUST]}]}},
            "seed.identities: web trusts issuer: cluster, and cluster.issuer is empty",
        ),
        (
            {
                "cluster": {"issuer": "https://a.example"},
                "seed": {"clusterIssuer": "https://a.example/"},
            },
            "cluster.issuer and seed.clusterIssuer differ",
        ),
        (
            {"service": {"externalTrafficPolicy": "Local"}},
            "externalTrafficPolicy needs service.type LoadBalancer or NodePort",
        ),
    ],
)
def test_missing_or_inconsistent_values_are_refused(
    chart: AuthorityChart, values: Values, said: str
) -> None:
    assert said in chart.refusal(values)


@pytest.mark.parametrize("seconds", [0, 1, 599, 86400, 100000, 864000])
@pytest.mark.parametrize("name", ["TOKEN", "USER_TOKEN"])
def test_token_lifetime_that_the_process_refuses_is_refused_by_the_chart(
    chart: AuthorityChart, name: str, seconds: int
) -> None:
    for value in (seconds, str(seconds)):
        refusal = chart.refusal({"settings": {f"PODPASS_AUTHORITY_{name}_SECONDS": value}})
        assert f"at '/settings/PODPASS_AUTHORITY_{name}_SECONDS'" in refusal


@pytest.mark.parametrize("seconds", [600, 999, 1000, 79999, 85999, 86399])
def test_token_lifetime_that_the_process_accepts_is_accepted_by_the_chart(
    chart: AuthorityChart, seconds: int
) -> None:
    for value in (seconds, str(seconds)):
        objects = chart.render({"settings": {"PODPASS_AUTHORITY_TOKEN_SECONDS": value}})
        data = find(objects, "ConfigMap")["data"]
        assert data["PODPASS_AUTHORITY_TOKEN_SECONDS"] == str(seconds)


@pytest.mark.parametrize("seconds", [MAX_ROTATION_SECONDS + 1, 10**12])
def test_rotation_period_that_the_process_refuses_is_refused_by_the_chart(
    chart: AuthorityChart, seconds: int
) -> None:
    for value in (seconds, str(seconds)):
        refusal = chart.refusal({"settings": {"PODPASS_AUTHORITY_ROTATION_SECONDS": value}})
        assert "at '/settings/PODPASS_AUTHORITY_ROTATION_SECONDS'" in refusal


def test_user_keys_that_duplicate_chart_keys_are_rendered_once(chart: AuthorityChart) -> None:
    """Of a duplicate key, some parsers use the first value and others the last."""
    mine = {"podpass/config": "mine", "app.kubernetes.io/name": "mine"}
    monitor = {"enabled": True, "labels": mine}
    said = chart.template({"podAnnotations": mine, "serviceMonitor": monitor}).stdout
    for part in said.split("---\n"):
        if "kind: Deployment" in part:
            assert part.count("podpass/config:") == 1
            assert "podpass/config: mine" not in part
        if "kind: ServiceMonitor" in part:
            assert part.partition("spec:")[0].count("app.kubernetes.io/name:") == 1
            assert "app.kubernetes.io/name: mine" in part.partition("spec:")[0]
            assert "app.kubernetes.io/name: mine" not in part.partition("spec:")[2]


@pytest.mark.parametrize("name", ["1abc", "my.rel", "1abc-podpass-authority"])
def test_release_name_that_is_invalid_for_a_service_is_refused(
    chart: AuthorityChart, name: str
) -> None:
    assert "cannot name a Service, which begins with a letter" in chart.refusal({}, name=name)
    named = chart.render({"nameOverride": "tokens"}, name=name)
    assert {one["metadata"]["labels"]["app.kubernetes.io/instance"] for one in named} == {name}


@pytest.mark.parametrize("override", ["", "a" * 51 + "--b", "a" * 60])
def test_longest_name_leaves_space_for_suffixes(chart: AuthorityChart, override: str) -> None:
    """The name of the seed Job's pod adds `-seed-` and five letters; a label has at most 63 characters."""
    for one in chart.render({**EVERYTHING, "nameOverride": override}, name="true" + "x" * 49):
        assert isinstance(one["metadata"]["labels"]["app.kubernetes.io/instance"], str)
        assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", one["metadata"]["name"])
        pods = len("-12345") if one["kind"] == "Job" else 0
        assert len(one["metadata"]["name"]) + pods <= 63


def test_release_named_like_a_boolean_has_string_labels(chart: AuthorityChart) -> None:
    for one in chart.render({"nameOverride": "null"}, name="true"):
        assert one["metadata"]["labels"]["app.kubernetes.io/instance"] == "true"
        assert one["metadata"]["labels"].get("app.kubernetes.io/name", "null") == "null"
        assert str(one["metadata"]["name"]).startswith("null")


def test_notes_describe_the_next_steps(chart: AuthorityChart, tmp_path: Path) -> None:
    """Helm prints notes only when it installs, so they are rendered here as another file of the chart."""
    copied = tmp_path / "podpass-authority"
    shutil.copytree(CHART, copied)
    text = (copied / "templates" / "NOTES.txt").read_text()
    (copied / "templates" / "notes.yaml").write_text(
        '{{- define "notes" -}}\n' + text + '{{- end -}}\ntext: {{ include "notes" . | quote }}'
    )

    def notes(values: dict[str, Any]) -> str:
        done = chart("template", "mine", str(copied), "--namespace", NAMESPACE, values=values)
        assert done.returncode == 0, done.stderr
        (one,) = [one for one in read_objects(done.stdout) if "text" in one]
        said: str = one["text"]
        return said

    plain = notes({})
    for secret in (
        "podpass-authority-sealing",
        "podpass-authority-database",
        "podpass-authority-tls",
    ):
        assert secret in plain
    assert "rollout status deployment/mine-podpass-authority" in plain
    assert "helm test mine -n podpass --logs" in plain
    assert "This release creates no identities" in plain
    assert "build it from deploy/" in plain
    assert "build it from deploy/" not in notes({"image": {"repository": "r/podpass"}})
    seeded = notes({"seed": {"identities": [{"name": "ops"}], "administrators": ["ops"]}})
    assert "logs job/mine-podpass-authority-seed" in seeded
    assert "the admin APIs are not served" in seeded
    assert "With one replica" in notes({"replicaCount": 1})
    assert "secret tls mine " in notes({"tlsSecret": "mine"})
