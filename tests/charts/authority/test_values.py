"""Values: what is missing, misspelt or cannot work is named before anything is installed."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from podpass.settings.authority_process import MAX_ROTATION_SECONDS
from tests.charts.authority.rendering import CHART, EVERYTHING, NAMESPACE, Chart
from tests.charts.rendering import Values, find

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
            "missing properties 'issuer', 'subject'",
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
def test_a_wrong_key_or_type_is_refused_by_name(
    chart: Chart, values: Values, where: str, said: str
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
            "seed.identities: web trusts issuer: cluster, and seed.clusterIssuer is empty",
        ),
        (
            {"service": {"externalTrafficPolicy": "Local"}},
            "externalTrafficPolicy needs service.type LoadBalancer or NodePort",
        ),
    ],
)
def test_what_is_missing_or_cannot_work_is_refused_before_anything_is_installed(
    chart: Chart, values: Values, said: str
) -> None:
    assert said in chart.refusal(values)


@pytest.mark.parametrize("seconds", [0, 1, 599, 86400, 100000, 864000])
@pytest.mark.parametrize("name", ["TOKEN", "USER_TOKEN"])
def test_a_life_of_tokens_that_the_process_refuses_is_refused_before(
    chart: Chart, name: str, seconds: int
) -> None:
    for value in (seconds, str(seconds)):
        refusal = chart.refusal({"settings": {f"PODPASS_AUTHORITY_{name}_SECONDS": value}})
        assert f"at '/settings/PODPASS_AUTHORITY_{name}_SECONDS'" in refusal


@pytest.mark.parametrize("seconds", [600, 999, 1000, 79999, 85999, 86399])
def test_a_life_of_tokens_that_the_process_takes_is_taken(chart: Chart, seconds: int) -> None:
    for value in (seconds, str(seconds)):
        objects = chart.render({"settings": {"PODPASS_AUTHORITY_TOKEN_SECONDS": value}})
        data = find(objects, "ConfigMap")["data"]
        assert data["PODPASS_AUTHORITY_TOKEN_SECONDS"] == str(seconds)


@pytest.mark.parametrize("seconds", [MAX_ROTATION_SECONDS + 1, 10**12])
def test_a_rotation_that_the_process_refuses_is_refused_before(chart: Chart, seconds: int) -> None:
    for value in (seconds, str(seconds)):
        refusal = chart.refusal({"settings": {"PODPASS_AUTHORITY_ROTATION_SECONDS": value}})
        assert "at '/settings/PODPASS_AUTHORITY_ROTATION_SECONDS'" in refusal


def test_names_of_the_user_do_not_stand_beside_ours(chart: Chart) -> None:
    """Of one key twice, some readers take the first and others the last."""
    mine = {"podpass/config": "mine", "app.kubernetes.io/name": "mine"}
    monitor = {"enabled": True, "labels": mine}
    said = chart.template({"podAnnotations": mine, "serviceMonitor": monitor}).stdout
    for part in said.split("---\n"):
        if "kind: Deployment" in part:
            assert part.count("podpass/config:") == 1
            assert "podpass/config: mine" not in part
        if "kind: ServiceMonitor" in part:
            assert part.partition("spec:")[0].count("app.kubernetes.io/name:") == 1


@pytest.mark.parametrize("name", ["1abc", "my.rel", "1abc-podpass-authority"])
def test_a_release_whose_name_no_service_can_have_is_refused(chart: Chart, name: str) -> None:
    assert "cannot name a Service, which begins with a letter" in chart.refusal({}, name=name)
    named = chart.render({"nameOverride": "tokens"}, name=name)
    assert {one["metadata"]["labels"]["app.kubernetes.io/instance"] for one in named} == {name}


@pytest.mark.parametrize("override", ["", "a" * 51 + "--b", "a" * 60])
def test_the_longest_name_leaves_room_for_what_is_put_after_it(chart: Chart, override: str) -> None:
    """A pod of the seed's Job has `-seed-` and five letters more; 63 is what a label may have."""
    for one in chart.render({**EVERYTHING, "nameOverride": override}, name="true" + "x" * 49):
        assert isinstance(one["metadata"]["labels"]["app.kubernetes.io/instance"], str)
        assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", one["metadata"]["name"])
        pods = len("-12345") if one["kind"] == "Job" else 0
        assert len(one["metadata"]["name"]) + pods <= 63


def test_a_release_called_as_a_truth_is_called_so_in_its_labels(chart: Chart) -> None:
    for one in chart.render({"nameOverride": "null"}, name="true"):
        assert one["metadata"]["labels"]["app.kubernetes.io/instance"] == "true"
        assert one["metadata"]["labels"].get("app.kubernetes.io/name", "null") == "null"
        assert str(one["metadata"]["name"]).startswith("null")


def test_the_notes_say_what_to_do_next(chart: Chart, tmp_path: Path) -> None:
    """Helm shows notes only where it installs; as any other file of the chart they are rendered here."""
    copied = tmp_path / "podpass-authority"
    shutil.copytree(CHART, copied)
    text = (copied / "templates" / "NOTES.txt").read_text()
    (copied / "templates" / "notes.yaml").write_text(
        '{{- define "notes" -}}\n' + text + '{{- end -}}\ntext: {{ include "notes" . | quote }}'
    )

    def notes(values: dict[str, Any]) -> str:
        done = chart("template", "mine", str(copied), "--namespace", NAMESPACE, values=values)
        assert done.returncode == 0, done.stderr
        (one,) = [one for one in yaml.safe_load_all(done.stdout) if one and "text" in one]
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
