"""The changes from the current iptables rules to the redirection."""

import pytest

from podpass.imds.redirect_rules import Redirect, plan_changes, select_rules

WANTED = Redirect(metadata_ip="169.254.169.254", metadata_port=80, proxy_port=8000, proxy_uid=1501)
OTHERS = [
    "-P PREROUTING ACCEPT",
    "-P OUTPUT ACCEPT",
    "-N MESH",
    "-A OUTPUT -p tcp -j MESH",
    "-A MESH -j RETURN",
]
# The text of a real `iptables -t nat -S` after the reference's script.
INSTALLED = [
    *OTHERS,
    "-N AZWI_PROXY_OUTPUT",
    "-N AZWI_PROXY_REDIRECT",
    "-A OUTPUT -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -j AZWI_PROXY_OUTPUT",
    "-A AZWI_PROXY_OUTPUT -m owner --uid-owner 1501 -j ACCEPT",
    "-A AZWI_PROXY_OUTPUT -j AZWI_PROXY_REDIRECT",
    "-A AZWI_PROXY_REDIRECT -p tcp -j REDIRECT --to-ports 8000",
]
JUMP = INSTALLED[7]


def test_installed_rules_of_the_reference_are_not_changed() -> None:
    assert plan_changes(INSTALLED, WANTED) == []


def test_all_rules_are_added_and_the_jump_is_the_last() -> None:
    assert plan_changes(OTHERS, WANTED) == [
        "-N AZWI_PROXY_REDIRECT",
        "-N AZWI_PROXY_OUTPUT",
        "-A AZWI_PROXY_REDIRECT -p tcp -j REDIRECT --to-ports 8000",
        "-A AZWI_PROXY_OUTPUT -m owner --uid-owner 1501 -j ACCEPT",
        "-A AZWI_PROXY_OUTPUT -j AZWI_PROXY_REDIRECT",
        JUMP,
    ]


def test_second_equal_jump_is_deleted() -> None:
    """The reference's script adds one at each run."""
    assert plan_changes([*INSTALLED, JUMP], WANTED) == [f"-D{JUMP[2:]}"]


@pytest.mark.parametrize(
    ("missing", "changes"),
    [
        (JUMP, [JUMP]),
        (INSTALLED[8], ["-F AZWI_PROXY_OUTPUT", *INSTALLED[8:10]]),
        (INSTALLED[10], [INSTALLED[10]]),
    ],
    ids=("jump", "exempt user", "redirect"),
)
def test_only_missing_rules_are_added(missing: str, changes: list[str]) -> None:
    current = [rule for rule in INSTALLED if rule != missing]
    assert plan_changes(current, WANTED) == changes


def test_other_port_and_address_replace_those_of_an_earlier_run() -> None:
    other = Redirect(metadata_ip="10.0.0.9", metadata_port=8080, proxy_port=9000, proxy_uid=7)
    assert plan_changes(INSTALLED, other) == [
        f"-D{JUMP[2:]}",
        "-F AZWI_PROXY_REDIRECT",
        "-A AZWI_PROXY_REDIRECT -p tcp -j REDIRECT --to-ports 9000",
        "-F AZWI_PROXY_OUTPUT",
        "-A AZWI_PROXY_OUTPUT -m owner --uid-owner 7 -j ACCEPT",
        "-A AZWI_PROXY_OUTPUT -j AZWI_PROXY_REDIRECT",
        "-A OUTPUT -d 10.0.0.9/32 -p tcp -m tcp --dport 8080 -j AZWI_PROXY_OUTPUT",
    ]


def test_rules_of_other_programs_are_not_shown() -> None:
    assert select_rules(INSTALLED) == INSTALLED[len(OTHERS) :]
