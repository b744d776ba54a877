"""The application works, and says what is wrong when it does not."""

import sys
from pathlib import Path
from typing import Any

import pytest
from greeter import greet

from podpass.pytest.environment import TestEnvironment
from podpass.pytest.instance import Podpass

VAULT = "https://greetings.vault.azure.net"
PROGRAM = Path(__file__).parents[1] / "greeter.py"


@pytest.mark.usefixtures("greeter")
def test_greeting_is_read_from_the_vault() -> None:
    assert greet(VAULT) == "hello"


@pytest.mark.usefixtures("greeter")
def test_new_greeting_is_used(podpass: Podpass) -> None:
    podpass.create_vault("greetings", {"greeting": "good evening"})
    assert greet(VAULT) == "good evening"


def test_application_reads_the_vault_as_a_pod(podpass: Podpass) -> None:
    podpass.kubernetes.create_account("default/greeter", podpass.identity("greeter").client_id)
    # The pod gets its token from the webhook and the kubelet, as in a cluster.
    ended = podpass.kubernetes.run("default/greeter", [sys.executable, str(PROGRAM), VAULT])
    assert (ended.phase, ended.log) == ("Succeeded", "hello\n")


def test_identity_without_a_role_is_refused(podpass: Podpass, podpass_env: TestEnvironment) -> None:
    podpass_env.sign_in(podpass.create_identity("newcomer", accounts=["default/newcomer"]))
    assert greet(VAULT) == "refused: 403"


@pytest.mark.usefixtures("greeter")
def test_disabled_secret_is_refused(podpass: Podpass) -> None:
    podpass.vault("greetings").disable("greeting")
    assert greet(VAULT) == "refused: 403"


@pytest.mark.parametrize(
    ("wrong", "number"),
    [
        ({"sub": "system:serviceaccount:default:other"}, "700213"),
        ({"iss": "https://issuer.example/"}, "700211"),
        ({"expires_in": -600}, "700024"),
        ({"key": "other"}, "7000274"),
    ],
    ids=["subject", "issuer", "expired", "key"],
)
def test_wrong_token_is_refused(
    podpass: Podpass, podpass_env: TestEnvironment, wrong: dict[str, Any], number: str
) -> None:
    token = podpass.tokens.assertion("default/greeter", **wrong)
    podpass_env.sign_in(podpass.identity("greeter"), token=token)
    assert greet(VAULT, retry_total=0) == f"signed out: {number}"


@pytest.mark.usefixtures("greeter")
def test_application_recovers_after_an_outage_of_the_token_service(podpass: Podpass) -> None:
    with podpass.faults.away("authority"):
        assert greet(VAULT, retry_total=0) != "hello"
    assert greet(VAULT) == "hello"


@pytest.mark.usefixtures("greeter")
def test_request_to_a_busy_vault_is_retried(podpass: Podpass) -> None:
    podpass.faults.status(503, "vault", times=2)
    assert greet(VAULT, retry_backoff_factor=0) == "hello"


@pytest.mark.usefixtures("greeter")
def test_old_token_is_refused_after_the_keys_were_replaced(
    podpass: Podpass, podpass_env: TestEnvironment
) -> None:
    token = podpass.tokens.projected("default/greeter")
    podpass.rotate_issuer_key(withdraw=True)
    podpass_env.sign_in(podpass.identity("greeter"), token=token)
    assert greet(VAULT, retry_total=0).startswith("signed out: 7000")
