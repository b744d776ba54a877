"""What a program of the host takes from the pod that admission returns."""

from podpass import names
from podpass.lab.host.host_identity import Account, build_pod, parse_injection


def test_program_takes_only_variables_of_an_identity_from_the_pod() -> None:
    """Another webhook may inject anything, and the program runs with the rights of the user."""
    pod = build_pod(Account(namespace="default", name="web"))
    (container,) = pod["spec"]["containers"]
    container["env"] = [
        {"name": names.ENV_CLIENT_ID, "value": "11111111-2222-4333-8444-555555555555"},
        {"name": "LD_PRELOAD", "value": "/tmp/evil.so"},
        {"name": "PATH", "value": "/tmp"},
        {"name": "HTTPS_PROXY", "value": "http://proxy.example"},
    ]
    token = {"audience": "api://AzureADTokenExchange", "expirationSeconds": 3600, "path": "token"}
    pod["spec"]["volumes"] = [
        {
            "name": f"{names.VOLUME_PREFIX}token",
            "projected": {"sources": [{"serviceAccountToken": token}]},
        }
    ]
    found = parse_injection(pod)
    assert found.variables == {names.ENV_CLIENT_ID: "11111111-2222-4333-8444-555555555555"}
    assert (found.audience, found.seconds) == ("api://AzureADTokenExchange", 3600)
