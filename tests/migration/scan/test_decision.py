"""The documentation's decision table, row by row."""

import pytest

from podpass.migration.scan.decision import (
    CPP,
    DOTNET,
    GO,
    JAVA,
    NODE,
    PYTHON,
    SUPPORTED,
    decide_all,
    is_at_least,
    version_key,
)
from podpass.migration.scan.model import LibraryFinding, Mention, Precision, Result

# Microsoft's minimum versions, and the release before each.
ROWS = [
    (PYTHON, "azure-identity", "1.12.0", "1.13.0"),
    (NODE, "@azure/identity", "3.1.4", "3.2.0"),
    (GO, "github.com/Azure/azure-sdk-for-go/sdk/azidentity", "1.2.2", "1.3.0"),
    (JAVA, "com.azure:azure-identity", "1.8.3", "1.9.0"),
    (DOTNET, "Azure.Identity", "1.8.2", "1.9.0"),
    (CPP, "azure-identity-cpp", "1.5.1", "1.6.0"),
]


def decide(*mentions: Mention) -> list[LibraryFinding]:
    return list(decide_all(("file", each) for each in mentions))


@pytest.mark.parametrize(("ecosystem", "library", "older", "minimum"), ROWS)
def test_supported_version_needs_no_step_and_an_older_one_an_update(
    ecosystem: str, library: str, older: str, minimum: str
) -> None:
    [finding] = decide(Mention(ecosystem, library, minimum))
    assert (finding.result, finding.minimum) == (Result.NONE, "")
    [finding] = decide(Mention(ecosystem, library, older))
    assert (finding.result, finding.minimum) == (Result.UPDATE, minimum)
    assert minimum in finding.reason
    assert "sidecar" in finding.reason


@pytest.mark.parametrize(
    ("ecosystem", "library"),
    [
        (PYTHON, "adal"),
        (PYTHON, "msrestazure"),
        (NODE, "adal-node"),
        (NODE, "@azure/ms-rest-nodeauth"),
        (GO, "github.com/Azure/go-autorest/autorest/adal"),
        (JAVA, "com.microsoft.azure:adal4j"),
        (DOTNET, "Microsoft.Azure.Services.AppAuthentication"),
        (PYTHON, "msal"),
        (NODE, "@azure/msal-node"),
    ],
)
def test_library_without_support_needs_the_sidecar_until_it_is_replaced(
    ecosystem: str, library: str
) -> None:
    [finding] = decide(Mention(ecosystem, library, "99.0.0"))
    assert finding.result is Result.SIDECAR
    assert f"{SUPPORTED[ecosystem].library} {finding.minimum} or newer" in finding.reason


@pytest.mark.parametrize(
    ("version", "result"), [("1.20.0", Result.CHECK), ("1.12.0", Result.SIDECAR)]
)
def test_unsupported_library_next_to_a_supported_one_is_undecided(
    version: str, result: Result
) -> None:
    found = decide(Mention(PYTHON, "adal", "1.2"), Mention(PYTHON, "azure-identity", version))
    [adal] = [each for each in found if each.library == "adal"]
    assert adal.result is result
    other = decide(Mention(PYTHON, "adal", "1.2"), Mention(NODE, "@azure/identity", "4.0.0"))
    assert other[0].result is Result.SIDECAR


def test_msal_is_not_counted_next_to_the_library_that_uses_it() -> None:
    both = [Mention(PYTHON, "msal", "1.30"), Mention(PYTHON, "azure-identity", "1.20.0")]
    assert [each.library for each in decide(*both)] == ["azure-identity"]
    assert [
        each.library for each in decide(both[0], Mention(NODE, "@azure/identity", "4.0.0"))
    ] == ["msal", "@azure/identity"]


@pytest.mark.parametrize(
    ("version", "precision", "result"),
    [
        ("1.12.0", Precision.AT_LEAST, Result.UPDATE),
        ("1.13.0", Precision.AT_LEAST, Result.NONE),
        ("", Precision.UNKNOWN, Result.CHECK),
        ("latest", Precision.EXACT, Result.CHECK),
    ],
)
def test_version_range_or_unknown_version_has_its_own_result(
    version: str, precision: Precision, result: Result
) -> None:
    [finding] = decide(Mention(PYTHON, "azure-identity", version, precision))
    assert finding.result is result
    assert (finding.minimum == "") == (result is Result.NONE)


def test_range_does_not_count_if_a_file_has_the_exact_version() -> None:
    allowed = Mention(NODE, "@azure/identity", "3.0.0", Precision.AT_LEAST)
    locked = Mention(NODE, "@azure/identity", "3.4.1")
    assert [each.version for each in decide(allowed, locked)] == ["3.4.1"]


def test_findings_begin_with_the_largest_step() -> None:
    found = decide(
        Mention(PYTHON, "azure-identity", "1.20.0"),
        Mention(NODE, "adal-node", "1.0"),
        Mention(GO, SUPPORTED[GO].library, "1.0.0"),
        Mention(JAVA, SUPPORTED[JAVA].library, "", Precision.UNKNOWN),
    )
    assert [each.result for each in found] == list(reversed(Result))


def test_control_and_direction_characters_are_escaped() -> None:
    evil = "a\x1b[31m\u202e\udc80\n"
    [finding] = decide_all([(evil, Mention(PYTHON, "azure-identity", evil))])
    shown = "a\\x1b[31m\\u202e\\udc80\\n"
    assert (finding.path, finding.version) == (shown, shown)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.12.0", "1.13.0"),
        ("1.9.0", "1.10.0"),
        ("1.13.0b2", "1.13.0"),
        ("1.9.0-beta.1", "1.9.0"),
        ("1.3.0-rc1", "v1.3.0"),
        ("2", "2.0.1"),
        ("1.13.0.dev20230101", "1.13"),
    ],
)
def test_older_version_is_below_newer(older: str, newer: str) -> None:
    assert is_at_least(newer, older) is True
    assert is_at_least(older, newer) is False


@pytest.mark.parametrize(
    "version", ["1.13", "1.13.0", "v1.13.0", "1.13.0.post1", "1.13.0+local", "1.13.0.Final"]
)
def test_release_with_another_spelling_is_equal(version: str) -> None:
    assert is_at_least(version, "1.13.0") is True
    assert is_at_least("1.13.0", version) is True


@pytest.mark.parametrize("version", ["", "latest", "*", "${x}", "1" * 30, "9" * 5000, "٣.1"])
def test_text_that_is_no_version_is_unknown(version: str) -> None:
    assert version_key(version) is None
    assert is_at_least(version, "1.0") is None
