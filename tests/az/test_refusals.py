"""`az` shows the code or the sentence of each kind of refusal; the tests of each API have all causes."""

import json
import uuid
from collections.abc import Iterator

import pytest

from tests.az.az_cli import AzCli
from tests.journey.instance import AUDIENCE, CLIENT, Instance

pytestmark = [pytest.mark.az, pytest.mark.timeout(1800)]

_GROUP = "refusals"
_CREDENTIAL = (
    "identity federated-credential create -n {name} --identity-name {identity} -g {group} "
    "--issuer https://issuer.example/ --subject {subject} --audiences {audience}"
)
_REST = "rest --url {sub}/resourceGroups/{path}?api-version=2024-11-01"
_ASSIGN = "role assignment create --scope {sub}/resourceGroups/refusals"
_GRAPH = "rest --url https://graph.microsoft.com/v1.0"


def _trust(**changes: str) -> str:
    values = {"name": "trust", "identity": "app", "group": _GROUP, "subject": "s"}
    return _CREDENTIAL.format(**{**values, "audience": AUDIENCE, **changes})


@pytest.fixture(scope="module")
def places(newest: AzCli, instance: Instance) -> Iterator[dict[str, str]]:
    """Create a group with an identity that trusts `taken`; return what the lines name."""
    newest(f"group create -n {_GROUP} -l westeurope")
    newest(f"identity create -n app -g {_GROUP}")
    newest(_trust(name="taken", subject="taken"))
    sub = f"/subscriptions/{instance.status['subscription_id']}"
    yield {"sub": sub, "json": "content-type=application/json", "missing": str(uuid.uuid4())}
    newest(f"group delete -n {_GROUP} --yes")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("account get-access-token --resource https://unknown.example", "AADSTS500011"),
        ("group create -n a-group -l nowhere", "(LocationNotAvailableForResourceGroup)"),
        ("group create -n ends. -l eastus", "InvalidResourceGroup"),
        ("group create -n refusals -l eastus", "(InvalidResourceGroupLocation)"),
        ("group delete -n nothing-here --yes", "(ResourceGroupNotFound)"),
        ("group show -n x --subscription 00000000-0000-4000-8000-00000000dead", "not found"),
        ("vm list-skus", "podpass does not serve GET"),
        ("monitor activity-log list", "podpass audit"),
        ("identity create -n app -g not-there -l eastus", "ResourceGroupNotFound"),
        ("identity create -n app! -g refusals", "Name"),
        ("identity create -n app -g refusals -l nowhere", "LocationNotAvailable"),
        (_trust(audience="api://two " + AUDIENCE), "exactly one audience"),
        (_trust(name="a!b"), "name"),
        (_trust(subject="s" * 601), "600"),
        (_trust(subject="taken"), "has this issuer and subject"),
        (_trust(identity="missing"), "(ParentResourceNotFound)"),
        (_trust(group="not-there"), "ResourceGroupNotFound"),
        ("keyvault create -n a -g refusals", "(VaultNameNotValid)"),
        ("keyvault create -n a-good-name -g not-there", "ResourceGroupNotFound"),
        ("keyvault create -n a-good-name -g refusals -l nowhere", "LocationNotAvailable"),
        ("keyvault create -n a-good-name -g refusals --retention-days 3", "retention"),
        ("keyvault purge -n never-there", "no deleted vault"),
        ("keyvault recover -n never-there", "no deleted vault"),
        (_ASSIGN + " --assignee missing --role Reader", "Cannot find"),
        (_ASSIGN + f" --assignee {CLIENT} --role Nothing", "Role"),
        (
            _ASSIGN + " --role Reader --assignee-object-id {missing}"
            " --assignee-principal-type ServicePrincipal",
            "(PrincipalNotFound)",
        ),
        ("rest --url {sub}?api-version=tomorrow", "InvalidApiVersion"),
        ("rest --url {sub}", "MissingApiVersionParameter"),
        (_REST.replace("{path}", "none"), "ResourceGroupNotFound"),
        (
            _REST.replace("{path}", "a") + " --method put --body {{{{ --headers {json}",
            "Invalid",
        ),
        ("rest --url /subscriptions/0?api-version=2024-11-01", "InvalidSubscriptionId"),
        (_GRAPH + "/applications/0", "Request_ResourceNotFound"),
        (_GRAPH + "/nothing", "BadRequest"),
        (_GRAPH + "/users?$filter=oops", "BadRequest"),
    ],
)
def test_refusal_is_shown(newest: AzCli, places: dict[str, str], line: str, words: str) -> None:
    assert words.lower() in newest.refused(line.format(**places)).lower()


def test_invalid_credential_of_an_application_is_refused(newest: AzCli) -> None:
    app = newest("ad app create --display-name refusals")["appId"]
    create = f"ad app federated-credential create --id {app}"
    trust = {"name": "trust", "issuer": "https://a/", "subject": "a", "audiences": [AUDIENCE]}
    newest(create, "--parameters", json.dumps(trust))
    for changes, words in (
        ({"name": "other", "subject": "b", "audiences": ["one", "two"]}, "audience"),
        ({"name": "other"}, "The federated credential trust of the application"),
    ):
        assert words in newest.refused(create, "--parameters", json.dumps(trust | changes))
    newest(f"ad app delete --id {app}")
