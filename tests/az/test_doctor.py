"""The commands that `podpass doctor` prints correct what it found: each is run as it is printed."""

import json
import shlex
from typing import Any

import pytest

from tests.az.az_cli import AzCli
from tests.journey.instance import Instance

pytestmark = [pytest.mark.az, pytest.mark.timeout(1800)]

_PREFIX = "azure.workload.identity"


def _diagnose(instance: Instance, account: str) -> list[dict[str, Any]]:
    done = instance.podpass(
        "doctor", f"sa/{account}", "--vault", "journey-vault", "-o", "json", check=False
    )
    [shown] = json.loads(done.stdout)["workloads"]
    findings: list[dict[str, Any]] = shown["findings"]
    return findings


def _repair(newest: AzCli, finding: dict[str, Any]) -> None:
    program, *words = shlex.split(finding["fix"].replace(" NAME", " repaired"))
    assert program == "az"
    newest("", *[word.replace('"NAME"', '"repaired"') for word in words])


@pytest.mark.parametrize("kind", ["managed-identity", "application"])
@pytest.mark.parametrize("subject", ["Doctor", "no-such-account"])
def test_printed_commands_repair_the_credential_and_the_role(
    newest: AzCli, instance: Instance, kind: str, subject: str
) -> None:
    account = f"doctor-{kind}-{subject}".lower()
    wrong = f"system:serviceaccount:default:{account.upper() if subject == 'Doctor' else subject}"
    issuer = instance.status["kubernetes"]["issuer"]
    audiences = ["api://AzureADTokenExchange"]
    if kind == "application":
        made = newest(f"ad app create --display-name {account}")
        client_id = made["appId"]
        newest(f"ad sp create --id {client_id}")
        trust = {"name": "trust", "issuer": issuer, "subject": wrong, "audiences": audiences}
        newest(
            f"ad app federated-credential create --id {client_id} --parameters", json.dumps(trust)
        )
    else:
        newest(f"group create -n {account} -l westeurope")
        client_id = newest(f"identity create -n {account} -g {account}")["clientId"]
        newest(
            f"identity federated-credential create --name trust --identity-name {account} -g {account}"
            f" --issuer {issuer} --subject {wrong} --audiences {audiences[0]}"
        )
    instance.account(account, {f"{_PREFIX}/client-id": client_id})
    checks = []
    for finding in _diagnose(instance, account):
        checks.append(finding["check"])
        _repair(newest, finding)
    assert checks == ["credential-subject-differs", "role-missing"]
    assert _diagnose(instance, account) == []
