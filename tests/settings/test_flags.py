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
def test_flags_are_read_as_go_reads_them(argv: list[str], found: dict[str, str]) -> None:
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
def test_reading_stops_where_go_stops_and_what_is_left_is_refused(
    argv: list[str], found: dict[str, str], problem: str
) -> None:
    """Go's programs ignore it: a flag that is not in force would look as if it were."""
    read, problems = parse_flags(argv, KNOWN)
    assert read == found
    (said,) = problems
    assert problem in said


def test_a_switch_that_has_its_value_is_not_said_to_want_the_next_argument() -> None:
    (said,) = parse_flags(["--disable=true", "false"], KNOWN)[1]
    assert "--disable=false" not in said
    (said,) = parse_flags(["--disable", "--audience", "a", "false"], KNOWN)[1]
    assert "--disable=false" not in said


def test_every_wrong_flag_is_named() -> None:
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
def test_a_switch_is_true_or_false(text: str, value: bool) -> None:
    assert parse_switch("--disable", text) is value


@pytest.mark.parametrize("text", ["", "yes", "tRUE"])
def test_a_switch_of_another_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"--disable .*: must be true or false"):
        parse_switch("--disable", text)
