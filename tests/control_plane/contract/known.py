"""Where the embedded API is known to differ from a real one: the test that shows it, and the reason.

Every row of `KNOWN` is a fault of ours to be mended or a choice to be told of in `docs/parity.md`. The rows
of `NEWER` hold of the embedded API and of real ones from `SINCE` on, and are not asked of an older one.
"""

import re

KNOWN: dict[str, str] = {
    "test_a_condition_decides_before_anybody_is_called": (
        "a choice: see docs/parity.md; conditions are refused in words"
    ),
}

# The release of the recorded vectors, and the oldest of which the rows are known to hold.
SINCE = (1, 34)
NEWER: dict[str, str] = {
    "test_all_groups_come_in_one_answer_for_those_who_ask": "discovery in one answer",
    "test_the_first_events_end_with_a_bookmark_for_those_who_ask": (
        "the bookmark after a watch's first events"
    ),
    "test_only_a_sidecar_has_a_restart_policy_of_its_own": "a container's own restart policy",
    "test_without_an_audience_a_token_is_for_the_api_server": "the credential a user came with",
    "test_the_schema_tells_how_lists_are_merged": "keys of lists in the schema",
    "test_a_version_that_is_none_is_refused": "the status for a list's version that is none",
}


def too_old(test: str, git_version: str) -> str:
    """Say why a test is not for a server of this version, such as `v1.29.15+k3s1`; nothing if it is."""
    found = re.match(r"v([0-9]+)\.([0-9]+)\.", git_version)
    assert found, f"{git_version!r} is no version of Kubernetes"
    if test not in NEWER or (int(found[1]), int(found[2])) >= SINCE:
        return ""
    return f"{NEWER[test]}: as Kubernetes {SINCE[0]}.{SINCE[1]} has it, and this is {git_version}"
