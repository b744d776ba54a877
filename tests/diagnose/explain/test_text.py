"""Cleaning of a text: colors, escapes, lines, encodings, no token; and the cause and fix of a refused hop."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpass.diagnose.explain import text
from podpass.diagnose.explain.hop import explain_hop
from podpass.diagnose.explain.recognition import ErrorExplanation
from podpass.diagnose.explain.text import clean, decode
from tests.console.hops import hop


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("\x1b[31mAADSTS700213\x1b[0m: no", "AADSTS700213: no"),
        ("\x1b]8;;https://x\x07link\x1b]8;;\x07", "link"),
        (r"\u001b[1mAADSTS700213\u001b[0m", "AADSTS700213"),
        (r"subject \"a\"\r\nTrace", 'subject "a" Trace'),
        (r"no identity \\\"x\\\" \\u0027y\\u0027", "no identity \"x\" 'y'"),
        ("subject &#39;a&#39; &quot;b&quot;", "subject 'a' \"b\""),
        ("a\n   b\t c\n", "a b c"),
    ],
)
def test_escapes_are_removed(given_text: str, expected: str) -> None:
    assert clean(given_text) == expected


def test_words_that_a_terminal_wrapped_are_joined() -> None:
    sentence = (
        "The workload options are not fully configured. See the troubleshooting guide for more"
    )
    cut = [sentence[at : at + 41] for at in range(0, len(sentence), 41)]
    assert clean("\n".join(cut)) == sentence


def test_line_break_between_lines_of_different_lengths_becomes_a_blank() -> None:
    assert clean("one line of words that is long enough to be\nthe longest") == (
        "one line of words that is long enough to be the longest"
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_output_that_powershell_wrote_is_decoded(encoding: str) -> None:
    assert decode("AADSTS700213".encode(encoding)) == "AADSTS700213"


@pytest.mark.parametrize(
    "secret",
    [
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl",
        "client_secret=s3cr3t~value&grant_type=x",
        '"access_token": "opaque-s3cr3t~value"',
        r"\"refresh_token\":\"0.s3cr3t~value\"",
        "AZURE_CLIENT_SECRET=s3cr3t~value",
        "clientSecret: 's3cr3t~value'",
        "client_secret=" + "x" * 5000 + "s3cr3t~value",
    ],
    ids=["jwt", "form", "json", "escaped json", "variable", "yaml", "long"],
)
def test_token_or_secret_is_removed(secret: str) -> None:
    cleaned = clean(f"AADSTS700213 {secret} end")
    assert "s3cr3t~value" not in cleaned
    assert "eyJ" not in cleaned


def test_token_in_several_lines_is_removed() -> None:
    token = "eyJ" + "a" * 300 + ".eyJ" + "b" * 300 + "." + "signed" * 60
    shown = f"CredentialUnavailableError: got {token} from it"
    lines = [shown[at : at + 80] for at in range(0, len(shown), 80)]
    assert clean("\n".join(lines)) == "CredentialUnavailableError: got [token] from it"


def test_end_of_a_long_text_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MAX_CHARS", 20)
    assert clean("x" * 1000 + " the last error") == "xxxxx the last error"


@given(st.text(alphabet=st.sampled_from("\\nu0eyJ.\x1b[]m;&#39\n\"' aAé"), max_size=300))
def test_any_text_is_cleaned(value: str) -> None:
    cleaned = clean(value)
    assert "\n" not in cleaned
    assert len(cleaned) <= len(value) * 3 + 20


def test_fix_that_the_stage_logged_is_used() -> None:
    refused = hop("admission", "refused", cause="not a GUID\nin line 3", fix="correct it")
    assert explain_hop(refused) == ErrorExplanation(cause="not a GUID", fix="correct it")


def test_fix_at_the_end_of_the_cause_is_shown_once() -> None:
    """As in a refusal of storage, whose client prints the message alone."""
    refused = hop(
        "resource", "storage_forbidden", cause="No role. Grant `az x`.", fix="Grant `az x`."
    )
    assert explain_hop(refused) == ErrorExplanation(cause="No role.", fix="Grant `az x`.")


def test_code_without_a_logged_cause_has_its_usual_cause() -> None:
    found = explain_hop(hop("exchange", "AADSTS700213"))
    assert found is not None
    assert found.cause == found.meaning != ""
    assert "subject" in found.fix


def test_refusal_of_a_resource_is_recognized_by_its_sentence() -> None:
    found = explain_hop(hop("resource", "ForbiddenByRbac", cause="no role"))
    assert found is not None
    assert found.cause == "no role"
    assert "has no role at the vault" in found.meaning
    assert "az role assignment create" in found.fix


def test_unknown_refusal_has_only_its_cause() -> None:
    assert explain_hop(hop("imds", "bad_request", cause="c")) == ErrorExplanation(cause="c")


def test_passed_hop_has_no_explanation() -> None:
    assert explain_hop(hop("exchange")) is None
