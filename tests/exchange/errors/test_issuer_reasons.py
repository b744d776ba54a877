"""The reasons of AADSTS501661: one for each reason of the code, in the message and in the guide."""

import ast
from pathlib import Path

from podpass.crypto import jose
from podpass.exchange.errors.catalogue import TABLE
from podpass.exchange.errors.issuer_reasons import REASONS, describe_reason

ROOT = Path(__file__).parents[3]
SOURCES = (
    ROOT / "src/podpass/http/fetcher.py",
    *(ROOT / "src/podpass/exchange/client_auth").glob("issuer_*.py"),
)


def _reasons(path: Path) -> set[str]:
    """Return the constant values of the keyword argument `reason`."""
    keywords = (
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.keyword)
    )
    return {
        str(each.value.value)
        for each in keywords
        if each.arg == "reason" and isinstance(each.value, ast.Constant)
    }


def test_every_reason_of_the_code_has_a_problem_and_a_resolution() -> None:
    used = {reason for path in SOURCES for reason in _reasons(path)} | {jose.BadKey.code}
    assert used == set(REASONS)
    for problem, resolution in REASONS.values():
        assert problem
        assert resolution


def test_message_names_problem_reason_and_resolution() -> None:
    assert describe_reason("jwks_origin") == (
        "the keys are on another origin than the issuer (jwks_origin); use `podpass authority"
        " --cluster-issuer` if the issuer is the API server of a cluster, otherwise --jwks-origin"
    )
    assert "(new_reason)" in describe_reason("new_reason")


def test_explanation_and_guide_have_every_reason() -> None:
    guide = (ROOT / "docs/operate/issuers.md").read_text()
    for reason, (_, resolution) in REASONS.items():
        assert f"`{reason}`: {resolution}" in TABLE[501661].resolution
        assert f"`{reason}`" in guide
