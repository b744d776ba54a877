"""The section `policies:` of a seed file."""

import pytest

from podpass.diagnose.lint.policies import AKS_ISSUERS, WELL_KNOWN_ISSUERS
from podpass.diagnose.lint.section import KEY, PolicyEntry
from podpass.errors import UsageError
from podpass.lab import services


def test_policies_are_read_with_their_parameters() -> None:
    text = f"""
policies:
  - {{definition: {WELL_KNOWN_ISSUERS}, parameters: {{allowAKS: true, allowGitHub: false, effect: Deny}}}}
  - {{definition: {AKS_ISSUERS.upper()}, parameters: {{allowedTenants: [a, b]}}}}
"""
    entries = services.parse_seed(text, "seed.yaml").entries[KEY]
    found = [each.policy for each in entries if isinstance(each, PolicyEntry)]
    assert [each.definition for each in found] == [WELL_KNOWN_ISSUERS, AKS_ISSUERS]
    assert found[0].parameters == {"allowAKS": True, "allowGitHub": False, "effect": "Deny"}
    assert found[1].parameters == {"allowedTenants": ("a", "b")}


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{}", "definition is missing"),
        ("{definition: x}", "definition 'x': want one of"),
        (
            f"{{definition: {AKS_ISSUERS}, parameters: {{allowAKS: true}}}}",
            "unknown key 'allowAKS'",
        ),
        (
            f"{{definition: {AKS_ISSUERS}, parameters: {{effect: deny}}}}",
            "effect 'deny': want one of",
        ),
        (f"{{definition: {AKS_ISSUERS}, parameters: {{allowedTenants: a}}}}", "want a list"),
        (
            f"{{definition: {WELL_KNOWN_ISSUERS}, parameters: {{allowAKS: 'true'}}}}",
            "allowAKS: want true or false, not text",
        ),
    ],
)
def test_wrong_policy_is_refused_with_its_line(entry: str, problem: str) -> None:
    with pytest.raises(UsageError) as refused:
        services.parse_seed(f"policies:\n  - {entry}\n", "seed.yaml")
    assert "seed.yaml:2:" in refused.value.message
    assert problem in refused.value.message
