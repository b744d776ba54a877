"""Known differences between the embedded API and a real one: the test that shows each, and the reason.

Each row of `KNOWN` is a bug to fix or a decision that `tests/vectors/features.toml` describes. The rows of
`OTHERS` are true for the embedded API, whatever release it serves, and for real servers of some releases; the
tests are skipped on real servers of other releases.
"""

import re
from dataclasses import dataclass

KNOWN: dict[str, str] = {
    "test_match_condition_is_evaluated_before_the_webhook_is_called": (
        "a decision: see tests/vectors/features.toml; conditions are refused with a message"
    )
}


@dataclass(frozen=True, slots=True)
class ServerFeature:
    """A feature, and the minor version that introduced it."""

    what: str
    since: int


OTHERS: dict[str, ServerFeature] = {
    **dict.fromkeys(
        (
            "test_node_gets_no_token_for_another_audience",
            "test_node_gets_no_token_for_the_api_server_that_the_pod_does_not_mount",
            "test_node_gets_no_token_with_two_audiences",
            "test_node_gets_a_token_for_an_audience_of_a_csi_driver",
            "test_missing_object_of_a_volume_is_named",
        ),
        ServerFeature("audiences of a node's token requests", 33),
    ),
    # Tried: 1.29 ignores the uid, 1.34 and 1.37 compare it.
    "test_request_that_names_another_uid_is_a_conflict": ServerFeature(
        "the uid in a token request", 34
    ),
    "test_aggregated_discovery_is_returned_on_request": ServerFeature(
        "discovery in one answer", 30
    ),
    "test_kind_is_in_aggregated_discovery": ServerFeature("discovery in one answer", 30),
    "test_without_an_audience_a_token_is_for_the_api_server": ServerFeature(
        "the credential a user came with", 30
    ),
    "test_schema_contains_list_types_and_merge_keys": ServerFeature(
        "keys of lists in the schema", 30
    ),
    "test_initial_events_end_with_a_bookmark_on_request": ServerFeature(
        "the bookmark after a watch's first events", 34
    ),
    **dict.fromkeys(
        (
            "test_container_has_a_restart_policy_and_rules_of_its_own",
            "test_invalid_restart_rule_of_a_container_is_refused",
        ),
        ServerFeature("a container's own restart policy", 35),
    ),
    "test_only_declared_fields_can_be_selected": ServerFeature(
        "selectable fields of custom resources", 31
    ),
    "test_definition_with_cel_rules_is_accepted": ServerFeature(
        "selectable fields of custom resources", 31
    ),
    # Tried: 1.29 answers 405, 1.34 answers 403.
    "test_deleted_definition_waits_for_its_objects": ServerFeature(
        "the status for a new object of a deleted definition", 34
    ),
    "test_value_that_does_not_change_is_not_validated_again": ServerFeature(
        "validation of what changes in a custom resource", 30
    ),
    "test_invalid_resource_version_is_refused": ServerFeature(
        "the status for an invalid version of a list", 34
    ),
}


def skip_reason(test: str, git_version: str) -> str:
    """Return why a test is skipped on a version such as `v1.29.15+k3s1`, or None."""
    found = re.match(r"v1\.([0-9]+)\.", git_version)
    assert found, f"{git_version!r} is not a known version of Kubernetes"
    minor, answer = int(found[1]), OTHERS.get(test)
    if answer is None or answer.since <= minor:
        return ""
    return f"{answer.what}: Kubernetes has it from 1.{answer.since} on; this is {git_version}"
