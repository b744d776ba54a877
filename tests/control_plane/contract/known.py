"""Where the embedded API is known to differ from a real one: the test that shows it, and the reason.

Every row of `KNOWN` is a fault of ours to be mended or a choice to be told of in `docs/parity.md`. The rows
of `OTHERS` hold of the embedded API, which answers as Kubernetes 1.34 does, and of the real ones of some
releases; those of other releases are not asked.
"""

import re
from dataclasses import dataclass

KNOWN: dict[str, str] = {
    "test_a_condition_decides_before_anybody_is_called": (
        "a choice: see docs/parity.md; conditions are refused in words"
    ),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a release has to have, and the minor versions from and before which it has it."""

    what: str
    since: int
    before: int | None = None


OTHERS: dict[str, Answer] = {
    "test_all_groups_come_in_one_answer_for_those_who_ask": Answer("discovery in one answer", 30),
    "test_without_an_audience_a_token_is_for_the_api_server": Answer(
        "the credential a user came with", 30
    ),
    "test_the_schema_tells_how_lists_are_merged": Answer("keys of lists in the schema", 30),
    "test_the_first_events_end_with_a_bookmark_for_those_who_ask": Answer(
        "the bookmark after a watch's first events", 34
    ),
    # From 1.35 on every container may have one, and one that is wrong is refused.
    "test_only_a_sidecar_has_a_restart_policy_of_its_own": Answer(
        "a container's own restart policy taken out", 34, before=35
    ),
    "test_a_version_that_is_none_is_refused": Answer(
        "the status for a list's version that is none", 34
    ),
}


def not_asked(test: str, git_version: str) -> str:
    """Say why a test is not for a server of this version, such as `v1.29.15+k3s1`; nothing if it is."""
    found = re.match(r"v1\.([0-9]+)\.", git_version)
    assert found, f"{git_version!r} is no version of Kubernetes that we know"
    minor, answer = int(found[1]), OTHERS.get(test)
    if answer is None or answer.since <= minor < (answer.before or minor + 1):
        return ""
    until = f" and before 1.{answer.before}" if answer.before else ""
    return (
        f"{answer.what}: Kubernetes has it from 1.{answer.since} on{until}; this is {git_version}"
    )
