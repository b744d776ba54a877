"""A refused hop has its cause and its fix, whatever the stage."""

from podpass.diagnose.explain.hop import explain_hop
from podpass.diagnose.explain.recognition import ErrorExplanation
from tests.console.hops import hop


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
