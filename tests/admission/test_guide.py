"""The guide and the code agree on each warning, refusal and name; entries of the webhook configuration."""

import json
import re
from pathlib import Path

from podpass import names
from podpass.admission import events
from podpass.admission.metrics_reasons import REASON_LABELS
from podpass.admission.sidecar import ENDPOINT_VARIABLES, build_endpoint_variables
from podpass.admission.warnings import TEXTS
from podpass.admission.webhook_configuration import build_advice_entry, build_mutation_entry
from podpass.settings import WebhookSettings

GUIDE = (Path(__file__).parents[2] / "docs/operate/admission.md").read_text()
_NUMBERS = {4: "four", 7: "seven"}


def _rows(heading: str) -> list[list[str]]:
    part = GUIDE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_guide_lists_every_warning_with_meaning_and_resolution() -> None:
    rows = _rows("Warnings")
    assert [(row[0].strip(" `"), row[1].strip(" `")) for row in rows] == list(TEXTS.items())
    assert all(len(row) == 4 and all(row) for row in rows)


def test_guide_lists_every_refusal_and_no_other() -> None:
    rows = _rows("Refusals")
    assert {row[0].strip(" `") for row in rows} == REASON_LABELS
    assert all(len(row) == 3 and all(row) for row in rows)


def test_guide_lists_the_audit_annotation_keys() -> None:
    keys = [row[0].strip(" `") for row in _rows("Audit log")]
    ours = (names.AUDIT_MUTATED, names.AUDIT_CLIENT_ID)
    assert keys == [f"{names.WEBHOOK_NAME}/{key}" for key in ours]
    # The API server accepts keys with one slash and a name of up to 63 characters after it.
    assert all(re.fullmatch(r"[^/]+/[a-z0-9][-._a-z0-9]{0,61}[a-z0-9]", key) for key in keys)


def test_guide_has_the_event_limits_of_the_code() -> None:
    text = GUIDE.partition("## Events")[2].partition("## ")[0]
    assert f"{events.BURST} writes, and one more every {events.SECONDS_EACH:.0f} seconds" in text
    assert (events.QUIET_SECONDS, "once a minute" in text) == (60.0, True)
    assert f"`{names.REFUSED_REASON}`" in GUIDE


def test_guide_has_the_variables_of_the_mode_env() -> None:
    part = GUIDE.partition("\n### The mode env\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)`", part, re.MULTILINE)
    settings = WebhookSettings.from_environ({"AZURE_TENANT_ID": "t"}, [])
    built = build_endpoint_variables(8000, settings)
    assert rows == [(each["name"], each["value"]) for each in built]
    # The sentence after the table names the others that choose a protocol.
    others = re.search(r"and by (`\w+`(?:(?:, | and )`\w+`)*)\.", part)
    assert others is not None
    named = {name for name, _ in rows} | set(re.findall(r"`(\w+)`", others[1]))
    assert named == {each for each in ENDPOINT_VARIABLES if not each.startswith("PODPASS_")}
    assert f"one of the {_NUMBERS[len(named)]}." in part.replace("\n", " ")
    assert f"none of the {_NUMBERS[len(rows)]} variables" in part.replace("\n", " ")


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
