"""The plugin as tests of another project use it: real SDKs in this process, on one instance."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.connector
import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import ClientSecretCredential, DefaultAzureCredential, aio
from azure.keyvault.certificates import (
    CertificateClient,
    CertificatePolicy,
    CertificatePolicyAction,
    LifetimeAction,
)
from azure.keyvault.keys import (
    KeyClient,
    KeyRotationLifetimeAction,
    KeyRotationPolicy,
    KeyRotationPolicyAction,
)
from azure.keyvault.secrets import SecretClient
from azure.keyvault.secrets.aio import SecretClient as AsynchronousSecretClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podpass.errors import UsageError
from podpass.lab.issuers.registry import IssuerRegistry
from podpass.pytest.client import InstanceRequestFailed
from podpass.pytest.environment import TestEnvironment
from podpass.pytest.instance import Podpass
from podpass.pytest.tokens import ExchangeRefused, decode
from tests.suite_policy import examples

ACCOUNT = "default/web"


def read_greeting(name: str = "tools-vault") -> str:
    """Read a secret as an application does; azure-core must not retry for a minute."""
    credential = DefaultAzureCredential(retry_total=0)
    client = SecretClient(f"https://{name}.vault.azure.net", credential, retry_total=0)
    return str(client.get_secret("greeting").value)


def refusal(request: Callable[[], object]) -> int:
    with pytest.raises(ExchangeRefused) as refused:
        request()
    return refused.value.number


def assertion_refusal(podpass: Podpass, **how: Any) -> int:
    web = podpass.identity("web")
    account = how.pop("account", ACCOUNT)
    assertion = podpass.tokens.assertion(account, **how)
    return refusal(lambda: podpass.tokens.access_token(web, assertion=assertion))


# ------------------------------------------------------------------------------------------- environment


def test_default_azure_credential_reads_a_secret_in_the_test_process(
    podpass: Podpass, podpass_env: TestEnvironment
) -> None:
    podpass_env.sign_in(podpass.identity("web"))
    assert read_greeting() == "hello"


@pytest.fixture
async def early_session() -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a session that was created before the variables were set."""
    async with aiohttp.ClientSession(trust_env=True) as session:
        yield session


async def test_asynchronous_clients_trust_the_instance(
    early_session: aiohttp.ClientSession, podpass: Podpass, podpass_env: TestEnvironment
) -> None:
    """This process imported aiohttp before the CA of the instance existed."""
    podpass_env.sign_in(podpass.identity("web"))
    url = "https://tools-vault.vault.azure.net"
    async with (
        aio.DefaultAzureCredential(retry_total=0) as credential,
        AsynchronousSecretClient(url, credential, retry_total=0) as client,
    ):
        assert (await client.get_secret("greeting")).value == "hello"
    async with early_session.get(f"{url}/secrets") as answer:
        assert answer.status == 401


def test_default_tls_context_of_aiohttp_is_restored(podpass: Podpass, tmp_path: Path) -> None:
    def context() -> Any:
        return vars(aiohttp.connector)["_SSL_CONTEXT_VERIFIED"]

    before = context()
    with pytest.MonkeyPatch.context() as patch:
        TestEnvironment(podpass, patch, tmp_path).use_gateway()
        assert context() is not before
    assert context() is before


def test_identity_and_vault_are_created_without_az(
    podpass: Podpass, podpass_env: TestEnvironment
) -> None:
    web = podpass.create_identity("shop", accounts=["shop/web"])
    vault = podpass.create_vault("shop-vault", {"greeting": "from the shop"}, readers=[web])
    podpass_env.sign_in(web)
    assert vault.url == "https://shop-vault.vault.azure.net"
    assert read_greeting("shop-vault") == "from the shop"


def test_identity_without_a_role_is_refused_by_the_vault(
    podpass: Podpass, podpass_env: TestEnvironment
) -> None:
    podpass_env.sign_in(podpass.create_identity("other", accounts=["default/other"]))
    with pytest.raises(HttpResponseError, match="ForbiddenByRbac"):
        read_greeting()


def test_environment_has_no_other_sign_in_and_is_restored(
    podpass: Podpass, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "of the developer")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "dev")
    before = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        environment = TestEnvironment(podpass, patch, request.getfixturevalue("tmp_path"))
        environment.use_gateway()
        assert "AZURE_CLIENT_SECRET" not in os.environ
        assert "AZURE_TOKEN_CREDENTIALS" not in os.environ
        assert os.environ["HTTPS_PROXY"] == podpass.gateway
        assert os.environ["REQUESTS_CA_BUNDLE"].startswith(str(podpass.data_dir))
        environment.sign_in(podpass.identity("web"))
        assert os.environ["AZURE_TOKEN_CREDENTIALS"] == "WorkloadIdentityCredential"
    assert dict(os.environ) == before


def test_pod_is_mutated_by_the_webhook_and_reads_the_secret(podpass: Podpass) -> None:
    podpass.kubernetes.create_account(ACCOUNT, podpass.identity("web").client_id)
    program = (
        "import os; token = open(os.environ['AZURE_FEDERATED_TOKEN_FILE']).read();"
        " print(os.environ['AZURE_CLIENT_ID'], len(token) > 500)"
    )
    ended = podpass.kubernetes.run(ACCOUNT, ["python", "-c", program])
    assert ended.phase == "Succeeded", ended
    assert ended.log == f"{podpass.identity('web').client_id} True\n"


def test_dry_run_shows_the_webhooks_contract(podpass: Podpass, podpass_namespace: str) -> None:
    podpass.kubernetes.create_account(
        f"{podpass_namespace}/web", "11111111-2222-4333-8444-555555555555"
    )
    pod = podpass.kubernetes.create(
        {
            "kind": "Pod",
            "metadata": {"name": "web", "labels": {"azure.workload.identity/use": "true"}},
            "spec": {"serviceAccountName": "web", "containers": [{"name": "app", "image": "app"}]},
        },
        namespace=podpass_namespace,
        dry_run=True,
    )
    env = {each["name"]: each.get("value") for each in pod["spec"]["containers"][0]["env"]}
    assert env["AZURE_CLIENT_ID"] == "11111111-2222-4333-8444-555555555555"
    assert env["AZURE_TENANT_ID"] == podpass.tenant_id
    with pytest.raises(InstanceRequestFailed) as missing:
        podpass.kubernetes.get("Pod", "web", podpass_namespace)
    assert missing.value.status == 404


def test_pytest_prints_the_hint_of_a_refused_request() -> None:
    error = InstanceRequestFailed(400, "the seed is invalid", {}, "fix the seed")
    assert error.__notes__ == ["fix the seed"]


# ------------------------------------------------------------------------------------------------ tokens


@pytest.mark.parametrize(
    ("how", "number"),
    [
        ({"iss": "https://issuer.example/"}, 700211),
        ({"account": "default/newcomer"}, 700213),
        ({"aud": ["api://other"]}, 700212),
        ({"expires_in": -600}, 700024),
        ({"key": "other"}, 7000274),
        ({"algorithm": "none"}, 5002738),
        ({"algorithm": "HS256"}, 5002738),
        ({"remove": ("exp",)}, 90014),
    ],
    ids=["iss", "sub", "aud", "expired", "key", "none", "HS256", "no-exp"],
)
def test_wrong_assertion_is_refused(podpass: Podpass, how: dict[str, Any], number: int) -> None:
    assert assertion_refusal(podpass, **how) == number


def test_minted_assertion_is_accepted_like_a_projected_token(podpass: Podpass) -> None:
    podpass.kubernetes.create_account(ACCOUNT)
    web = podpass.identity("web")
    minted = podpass.tokens.access_token(web, assertion=podpass.tokens.assertion(ACCOUNT))
    projected = podpass.tokens.access_token(web, assertion=podpass.tokens.projected(ACCOUNT))
    assert decode(minted)["sub"] == decode(projected)["sub"]


def test_changed_access_token_is_refused_by_the_vault(podpass: Podpass) -> None:
    """The ServiceAccount that the identity trusts does not exist."""
    token = podpass.tokens.access_token(podpass.identity("web"))
    good = podpass.tokens.change(token)
    wrong: Mapping[str, str] = {
        "aud": podpass.tokens.change(token, aud="https://storage.azure.com"),
        "exp": podpass.tokens.change(token, exp=int(decode(token)["exp"]) - 2 * 86400),
        "key": podpass.tokens.change(token, key="other"),
        "none": podpass.tokens.change(token, algorithm="none"),
    }
    assert vault_status(podpass, good) == 200
    assert {name: vault_status(podpass, each) for name, each in wrong.items()} == dict.fromkeys(
        wrong, 401
    )


def vault_status(podpass: Podpass, token: str) -> int:
    response = requests.get(
        "https://tools-vault.vault.azure.net/secrets/greeting?api-version=7.4",
        headers={"Authorization": f"Bearer {token}"},
        proxies={"https": podpass.gateway},
        verify=str(podpass.ca_file),
        timeout=30,
    )
    return response.status_code


# ------------------------------------------------------------------------------------------------ faults


def test_unreachable_authority_fails_the_sdk_and_recovers(
    podpass: Podpass, podpass_env: TestEnvironment
) -> None:
    podpass_env.sign_in(podpass.identity("web"))
    with podpass.faults.away(), pytest.raises(ClientAuthenticationError):
        read_greeting()
    assert read_greeting() == "hello"


def test_aadsts_error_is_injected_once_and_for_one_client(podpass: Podpass) -> None:
    podpass.kubernetes.create_account(ACCOUNT)
    web = podpass.identity("web")
    podpass.faults.aadsts(90033, times=1, client_id=web.client_id)
    podpass.faults.aadsts(50000, client_id="11111111-2222-4333-8444-555555555555")
    assert refusal(lambda: podpass.tokens.access_token(web)) == 90033
    assert podpass.tokens.access_token(web)


def test_vault_status_is_injected_and_the_sdk_retries(
    podpass: Podpass, podpass_env: TestEnvironment
) -> None:
    podpass_env.sign_in(podpass.identity("web"))
    podpass.faults.status(503, times=1)
    client = SecretClient(
        "https://tools-vault.vault.azure.net", DefaultAzureCredential(), retry_backoff_factor=0
    )
    assert client.get_secret("greeting").value == "hello"
    podpass.faults.status(429, retry_after=7)
    with pytest.raises(HttpResponseError) as refused:
        read_greeting()
    assert refused.value.status_code == 429
    response: Any = refused.value.response
    assert response.headers["Retry-After"] == "7"


def test_command_for_an_instance_that_fails_ends_soon_with_one_error(podpass: Podpass) -> None:
    """As with a full disk, which has the same status and `Retry-After`."""
    podpass.faults.status(503, service="authority", retry_after=30)
    command = ("lint", "--instance", "--data-dir", str(podpass.data_dir))
    done = subprocess.run(
        [sys.executable, "-m", "podpass.cli", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("cannot sign in") == 1
    assert "status` shows whether the instance is ready" in done.stderr
    assert "accepts no request for the next 30 seconds" in done.stderr
    assert "never retrieved" not in done.stderr


def test_slow_authority_delays_the_token(podpass: Podpass) -> None:
    podpass.kubernetes.create_account(ACCOUNT)
    web = podpass.identity("web")
    podpass.faults.slow(0.2, times=1)
    began = datetime.now(UTC)
    podpass.tokens.access_token(web)
    assert (datetime.now(UTC) - began).total_seconds() >= 0.2


@pytest.mark.parametrize(
    "fault",
    [
        {"service": "registry", "kind": "away"},
        {"service": "vault", "kind": "aadsts", "number": 90033},
        {"service": "authority", "kind": "aadsts", "number": 1},
        {"service": "vault", "kind": "status", "status": 200},
        {"service": "vault", "kind": "slow", "seconds": -1},
        {"service": "vault", "kind": "away", "times": 0},
        {"service": "vault", "kind": "away", "colour": "red"},
        {"kind": "away"},
    ],
    ids=["service", "aadsts-vault", "number", "status", "seconds", "times", "field", "missing"],
)
def test_invalid_fault_is_refused(podpass: Podpass, fault: dict[str, Any]) -> None:
    with pytest.raises(InstanceRequestFailed) as refused:
        podpass.faults._add(**fault)
    assert refused.value.status == 400
    assert not refused.value.message.startswith("unexpected")


# ------------------------------------------------------------------------------------- clock, keys, secrets


def test_token_is_expired_after_the_clock_moved(podpass: Podpass) -> None:
    podpass.kubernetes.create_account(ACCOUNT)
    assertion, web = podpass.tokens.projected(ACCOUNT), podpass.identity("web")
    token = podpass.tokens.access_token(web, assertion=assertion)
    podpass.move_clock(days=2)
    assert refusal(lambda: podpass.tokens.access_token(web, assertion=assertion)) == 700024
    assert vault_status(podpass, token) == 401
    podpass.reset()
    assert vault_status(podpass, token) == 200


def test_key_and_certificate_of_a_vault_are_rotated_by_the_clock(
    podpass: Podpass, podpass_env: TestEnvironment
) -> None:
    vault = podpass.create_vault("rotation-vault", access={"web": "Key Vault Administrator"})

    def client(kind: Any) -> Any:
        # The clock moves by more than the lifetime of a token.
        podpass_env.sign_in(podpass.identity("web"))
        return kind(vault.url, DefaultAzureCredential(retry_total=0), retry_total=0)

    keys: KeyClient = client(KeyClient)
    first_key = keys.create_ec_key("signing")
    rotate = KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_after_create="P30D")
    keys.update_key_rotation_policy("signing", KeyRotationPolicy(lifetime_actions=[rotate]))
    renew = LifetimeAction(CertificatePolicyAction.auto_renew, days_before_expiry=20)
    policy = CertificatePolicy(
        "Self", subject="CN=www", validity_in_months=2, lifetime_actions=[renew], key_type="EC"
    )
    first = client(CertificateClient).begin_create_certificate("www", policy).result()

    podpass.move_clock(days=50)

    renewed = client(CertificateClient).get_certificate("www")
    assert first.properties is not None
    assert renewed.properties is not None
    assert renewed.properties.version != first.properties.version
    assert renewed.cer != first.cer
    assert client(SecretClient).get_secret("www").id == renewed.secret_id
    keys = client(KeyClient)
    assert keys.get_key("www").id == renewed.key_id
    assert keys.get_key("signing").id != first_key.id
    assert renewed.properties.expires_on > first.properties.expires_on


@pytest.mark.parametrize("withdraw", [False, True])
def test_issuer_key_is_rotated(podpass: Podpass, withdraw: bool) -> None:
    podpass.kubernetes.create_account(ACCOUNT)
    web, old = podpass.identity("web"), podpass.tokens.projected(ACCOUNT)
    podpass.tokens.access_token(web, assertion=old)
    podpass.rotate_issuer_key(withdraw=withdraw)
    assert podpass.tokens.access_token(web, assertion=podpass.tokens.projected(ACCOUNT))
    if withdraw:
        assert refusal(lambda: podpass.tokens.access_token(web, assertion=old)) == 7000272
    else:
        assert podpass.tokens.access_token(web, assertion=old)
    podpass.reset()
    assert podpass.tokens.access_token(web, assertion=old)


def test_authority_key_is_withdrawn(podpass: Podpass) -> None:
    podpass.kubernetes.create_account(ACCOUNT)
    web = podpass.identity("web")
    old = podpass.tokens.access_token(web)
    podpass.rotate_authority_key(withdraw=True)
    assert vault_status(podpass, old) == 401
    assert vault_status(podpass, podpass.tokens.access_token(web)) == 200
    podpass.reset()
    assert vault_status(podpass, old) == 200


@pytest.mark.usefixtures("podpass_env")
def test_expired_client_secret_is_refused_with_7000222(podpass: Podpass) -> None:
    web = podpass.create_identity("app", kind="application")
    for lifetime, is_accepted in ((3600, True), (-60, False)):
        secret = web.add_client_secret(expires_in=lifetime)
        credential = ClientSecretCredential(podpass.tenant_id, web.client_id, secret)
        if is_accepted:
            assert credential.get_token("https://vault.azure.net/.default").token
        else:
            with pytest.raises(ClientAuthenticationError, match="AADSTS7000222"):
                credential.get_token("https://vault.azure.net/.default")


def test_vault_secret_expires_or_is_disabled(
    podpass: Podpass, podpass_env: TestEnvironment
) -> None:
    podpass_env.sign_in(podpass.identity("web"))
    vault = podpass.vault("tools-vault")
    vault.expire("greeting")
    client = SecretClient(vault.url, DefaultAzureCredential())
    expires = client.get_secret("greeting").properties.expires_on
    assert expires is not None
    assert expires < datetime.now(UTC)
    vault.disable("greeting")
    with pytest.raises(HttpResponseError, match="disabled"):
        client.get_secret("greeting")


# ------------------------------------------------------------------------------------------------ reset


def observed(podpass: Podpass) -> dict[str, Any]:
    """Return everything that a test can see, without revisions, which never decrease."""
    identities = podpass._control.request("GET", "/identities")["value"]
    vaults = podpass._control.request("GET", "/vaults")["value"]
    audit = podpass._control.request("GET", "/audit")["value"]
    objects = {}
    for path in ("namespaces", "serviceaccounts", "configmaps", "pods", "secrets", "events"):
        found = podpass.kubernetes.request("GET", f"/api/v1/{path}")["items"]
        for each in found:
            each["metadata"].pop("resourceVersion")
        objects[path] = found
    keys = sorted(each.name for each in (podpass.data_dir / "keys" / "issuer").iterdir())
    return {"identities": identities, "vaults": vaults, "audit": audit, "keys": keys, **objects}


def change_nothing(_podpass: Podpass, _name: str) -> None:
    pass


def create_identity(podpass: Podpass, name: str) -> None:
    podpass.create_identity(name, accounts=[f"{name}/web"])


def change_seeded_identity(podpass: Podpass, name: str) -> None:
    podpass.create_identity("web", accounts=[f"default/{name}"])


def change_secret(podpass: Podpass, name: str) -> None:
    podpass.create_vault("tools-vault", {"greeting": name, name: name})


def create_vault(podpass: Podpass, name: str) -> None:
    podpass.create_vault(f"vault-{name}", {"one": name})


def create_objects(podpass: Podpass, name: str) -> None:
    podpass.kubernetes.create_account(f"{name}/web", "11111111-2222-4333-8444-555555555555")
    config = {"kind": "ConfigMap", "metadata": {"name": name}, "data": {"name": name}}
    podpass.kubernetes._create_or_keep(config)


def delete_account(podpass: Podpass, _name: str) -> None:
    podpass.kubernetes.request(
        "PATCH",
        "/api/v1/namespaces/default/serviceaccounts/default",
        {"metadata": {"labels": {"changed": "yes"}}},
    )


def create_pod(podpass: Podpass, name: str) -> None:
    pod = {
        "kind": "Pod",
        "metadata": {"generateName": f"{name}-"},
        "spec": {"containers": [{"name": "app", "image": "app", "command": ["sleep", "600"]}]},
    }
    podpass.kubernetes.create(pod)


def inject_fault(podpass: Podpass, _name: str) -> None:
    podpass.faults.aadsts(50000)


def move_clock(podpass: Podpass, _name: str) -> None:
    podpass.move_clock(hours=3)


CHANGES = [
    *(change_nothing, create_identity, change_seeded_identity, change_secret, create_vault),
    *(create_objects, delete_account, create_pod, inject_fault, move_clock),
]


@settings(max_examples=examples(8), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(st.sampled_from(CHANGES), st.sampled_from(["one", "two"])), max_size=8
    )
)
def test_reset_after_any_changes_gives_the_state_of_the_start(
    podpass: Podpass, changes: list[tuple[Callable[[Podpass, str], None], str]]
) -> None:
    podpass.reset()
    before = observed(podpass)
    for change, name in changes:
        change(podpass, name)
    podpass.reset()
    assert observed(podpass) == before
    web = podpass.identity("web")
    assertion = podpass.tokens.assertion(ACCOUNT)
    assert vault_status(podpass, podpass.tokens.access_token(web, assertion=assertion)) == 200


def test_reset_restores_issuers_and_platforms(podpass: Podpass) -> None:
    podpass.apply({"issuers": [{"url": "https://issuer.example"}], "pipelines": ["github"]})
    file = podpass.data_dir / "issuers.json"
    assert IssuerRegistry(file).platforms == {"github"}
    podpass.reset()
    restored = IssuerRegistry(file)
    assert (restored.issuers, restored.platforms) == ({}, set())


def test_reset_restores_what_was_deleted(podpass: Podpass) -> None:
    before = observed(podpass)
    podpass.kubernetes.delete("ConfigMap", "kube-root-ca.crt", "kube-public")
    podpass.reset()
    assert observed(podpass) == before


def test_watchers_see_the_changes_of_a_reset(podpass: Podpass) -> None:
    podpass.kubernetes.create({"kind": "ConfigMap", "metadata": {"name": "made"}})
    listed = podpass.kubernetes.request("GET", "/api/v1/namespaces/default/configmaps")
    revision = listed["metadata"]["resourceVersion"]
    podpass.reset()
    path = f"/api/v1/namespaces/default/configmaps?watch=1&resourceVersion={revision}"
    watch = podpass.kubernetes._connection.lines(path)
    event = next(watch)
    watch.close()
    assert (event["type"], event["object"]["metadata"]["name"]) == ("DELETED", "made")


def test_baseline_is_the_state_to_which_reset_returns(podpass: Podpass) -> None:
    podpass.create_identity("kept", accounts=["default/kept"])
    podpass.set_baseline()
    podpass.create_identity("dropped")
    podpass.reset()
    try:
        assert podpass.identity("kept").accounts == ("default/kept",)
        with pytest.raises(LookupError):
            podpass.identity("dropped")
    finally:
        podpass.apply({})


def test_shared_instance_refuses_operations_that_affect_other_tests(podpass: Podpass) -> None:
    podpass.is_shared = True
    try:
        for forbidden in (
            podpass.reset,
            podpass.set_baseline,
            podpass.rotate_issuer_key,
            lambda: podpass.move_clock(days=1),
            lambda: podpass.faults,
        ):
            with pytest.raises(UsageError, match="shares with other test processes"):
                forbidden()
    finally:
        podpass.is_shared = False
