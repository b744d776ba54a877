"""`helm lint` accepts both charts."""

import pytest

from tests.charts.authority import rendering as authority
from tests.charts.rendering import SETS, Helm

pytestmark = pytest.mark.kubernetes
OWN, AUTHORITY = Helm, authority.AuthorityChart


@pytest.mark.parametrize(
    ("kind", "name"),
    [*((OWN, name) for name in SETS), *((AUTHORITY, name) for name in authority.SETS)],
)
def test_helm_lint_reports_no_problem(helm: Helm, kind: type[Helm], name: str) -> None:
    values = (SETS if kind is OWN else authority.SETS)[name]
    assert "[WARNING]" not in kind(helm.binary).lint(values)


@pytest.mark.parametrize("kind", [OWN, AUTHORITY])
def test_chart_can_be_a_conditional_dependency_of_another_chart(
    helm: Helm, kind: type[Helm]
) -> None:
    chart = kind(helm.binary)
    assert chart.render({"global": {"registry": "x"}, "enabled": True}) == chart.render()
