"""The entries in the configuration: the reference's, and beside it one that is in nobody's way."""

import json
from pathlib import Path

from podpass import names
from podpass.admission.webhook_configuration import advice, mutation

SERVICE = {"service": {"name": "azure-wi-webhook-webhook-service", "namespace": "ns"}}


def test_the_first_entry_is_the_references_but_for_its_side_effects() -> None:
    entry = mutation(SERVICE)
    assert (entry["name"], entry["failurePolicy"]) == (names.WEBHOOK_NAME, "Fail")
    assert entry["objectSelector"] == {"matchLabels": {"azure.workload.identity/use": "true"}}
    assert (entry["reinvocationPolicy"], entry["matchPolicy"]) == ("IfNeeded", "Equivalent")
    assert entry["clientConfig"] == SERVICE
    (rule,) = entry["rules"]
    assert (rule["operations"], rule["resources"]) == (["CREATE"], ["pods"])
    assert entry["sideEffects"] == "NoneOnDryRun", "an Event is one, and a dry run leaves it out"


def test_the_second_entry_can_neither_block_nor_change_nor_wait() -> None:
    entry = advice(SERVICE, ["kube-system", "ns"])
    assert entry["failurePolicy"] == "Ignore"
    assert entry["reinvocationPolicy"] == "Never"
    assert entry["sideEffects"] == "None"
    assert entry["timeoutSeconds"] == 1
    assert entry["name"] != names.WEBHOOK_NAME
    assert entry["name"].count(".") >= 2, "an API server wants three parts of a webhook's name"
    (namespaces,) = entry["namespaceSelector"]["matchExpressions"]
    assert (namespaces["operator"], namespaces["values"]) == ("NotIn", ["kube-system", "ns"])


def test_no_pod_is_wanted_by_both() -> None:
    (expression,) = advice(SERVICE, [])["objectSelector"]["matchExpressions"]
    assert expression == {"key": names.USE_LABEL, "operator": "NotIn", "values": ["true"]}
    assert mutation(SERVICE)["objectSelector"]["matchLabels"] == {names.USE_LABEL: "true"}


def test_the_guide_shows_the_second_entry_as_it_is() -> None:
    guide = (Path(__file__).parents[2] / "docs/guides/admission.md").read_text()
    block = guide.partition("```json\n")[2].partition("```")[0]
    config = {
        "service": {
            "name": "azure-wi-webhook-webhook-service",
            "namespace": names.SYSTEM_NAMESPACE,
            "path": names.ADVICE_PATH,
        }
    }
    assert json.loads(block) == advice(config, ["kube-system", names.SYSTEM_NAMESPACE])
