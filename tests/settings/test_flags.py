"""Flags in Go's syntax."""

import pytest

from podpass.settings.flags import parse_flags, parse_switch

KNOWN = {"--audience": False, "--disable": True}


@pytest.mark.parametrize(
    ("argv", "found"),
    [
        ([], {}),
        (["--audience", "a"], {"--audience": "a"}),
        (["-audience", "a"], {"--audience": "a"}),
        (["--audience=a=b"], {"--audience": "a=b"}),
        (["--audience="], {"--audience": ""}),
        (["--audience", "--disable"], {"--audience": "--disable"}),
        (["--disable"], {"--disable": "true"}),
        (["--disable=false"], {"--disable": "false"}),
        (["--audience", "a", "--"], {"--audience": "a"}),
        (["--audience", "a", "--audience", "b"], {"--audience": "b"}),
    ],
)
def test_flags_are_parsed_like_in_go(argv: list[str], found: dict[str, str]) -> None:
    assert parse_flags(argv, KNOWN) == (found, [])


@pytest.mark.parametrize(
    ("argv", "found", "problem"),
    [
        (["--disable", "false", "--audience", "a"], {"--disable": "true"}, "write --disable=false"),
        (["false", "--audience", "a"], {}, "'false': is not a flag"),
        (["--audience", "a", "false"], {"--audience": "a"}, "--flag=value"),
        (["--", "--audience", "a"], {}, "--: arguments after it are not read; remove '--audience'"),
        (["--disable", "--", "false"], {"--disable": "true"}, "--: arguments after it"),
        (["--disable=true", "false"], {"--disable": "true"}, "'false': is not a flag"),
        (["-", "--audience", "a"], {}, "'-': is not a flag"),
        (["--audience", "a", "--disable", "b"], {"--audience": "a", "--disable": "true"}, "'b'"),
    ],
)
def test_parsing_stops_as_in_go_and_remaining_arguments_are_refused(
    argv: list[str], found: dict[str, str], problem: str
) -> None:
    """Go programs ignore the remaining arguments, so a flag after them would silently have no effect."""
    read, problems = parse_flags(argv, KNOWN)
    assert read == found
    (said,) = problems
    assert problem in said


def test_switch_with_a_value_gets_no_hint_about_the_next_argument() -> None:
    (said,) = parse_flags(["--disable=true", "false"], KNOWN)[1]
    assert "--disable=false" not in said
    (said,) = parse_flags(["--disable", "--audience", "a", "false"], KNOWN)[1]
    assert "--disable=false" not in said


def test_every_invalid_flag_is_named() -> None:
    found, problems = parse_flags(["--nonsense=1", "---disable", "--audience"], KNOWN)
    assert found == {}
    assert [problem.split(":")[0] for problem in problems] == [
        "--nonsense",
        "---disable",
        "--audience",
    ]


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("T", True), ("false", False), ("0", False)]
)
def test_switch_value_is_parsed_as_boolean(text: str, value: bool) -> None:
    assert parse_switch("--disable", text) is value


@pytest.mark.parametrize("text", ["", "yes", "tRUE"])
def test_switch_with_an_invalid_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"--disable .*: must be true or false"):
        parse_switch("--disable", text)
