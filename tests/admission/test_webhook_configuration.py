"""The entries of the configuration: that of the reference, and a second one that blocks no pod."""

import json
from pathlib import Path

from podpass import names
from podpass.admission.webhook_configuration import build_advice_entry, build_mutation_entry

SERVICE = {"service": {"name": "azure-wi-webhook-webhook-service", "namespace": "ns"}}


def test_first_entry_equals_the_reference_except_side_effects() -> None:
    entry = build_mutation_entry(SERVICE)
    assert (entry["name"], entry["failurePolicy"]) == (names.WEBHOOK_NAME, "Fail")
    assert entry["objectSelector"] == {"matchLabels": {"azure.workload.identity/use": "true"}}
    assert (entry["reinvocationPolicy"], entry["matchPolicy"]) == ("IfNeeded", "Equivalent")
    assert entry["clientConfig"] == SERVICE
    (rule,) = entry["rules"]
    assert (rule["operations"], rule["resources"]) == (["CREATE"], ["pods"])
    assert entry["sideEffects"] == "NoneOnDryRun", (
        "an Event is a side effect, and a dry run writes none"
    )


def test_second_entry_cannot_block_change_or_delay_pods() -> None:
    entry = build_advice_entry(SERVICE, ["kube-system", "ns"])
    assert entry["failurePolicy"] == "Ignore"
    assert entry["reinvocationPolicy"] == "Never"
    assert entry["sideEffects"] == "None"
    assert entry["timeoutSeconds"] == 1
    assert entry["name"] != names.WEBHOOK_NAME
    assert entry["name"].count(".") >= 2, (
        "an API server requires three parts in the name of a webhook"
    )
    (namespaces,) = entry["namespaceSelector"]["matchExpressions"]
    assert (namespaces["operator"], namespaces["values"]) == ("NotIn", ["kube-system", "ns"])


def test_no_pod_matches_both_entries() -> None:
    (expression,) = build_advice_entry(SERVICE, [])["objectSelector"]["matchExpressions"]
    assert expression == {"key": names.USE_LABEL, "operator": "NotIn", "values": ["true"]}
    assert build_mutation_entry(SERVICE)["objectSelector"]["matchLabels"] == {
        names.USE_LABEL: "true"
    }


def test_guide_shows_the_second_entry() -> None:
    guide = (Path(__file__).parents[2] / "docs/operate/admission.md").read_text()
    block = guide.partition("```json\n")[2].partition("```")[0]
    config = {
        "service": {
            "name": "azure-wi-webhook-webhook-service",
            "namespace": names.SYSTEM_NAMESPACE,
            "path": names.ADVICE_PATH,
        }
    }
    assert json.loads(block) == build_advice_entry(config, ["kube-system", names.SYSTEM_NAMESPACE])
