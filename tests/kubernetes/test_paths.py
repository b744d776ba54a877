"""Paths of objects: no name reaches another object."""

import pytest

from podpass.errors import UsageError
from podpass.kubernetes.paths import path_of


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (path_of("Pod", "web", namespace="n"), "/api/v1/namespaces/n/pods/web"),
        (path_of("Pod"), "/api/v1/pods"),
        (path_of("Namespace", "n"), "/api/v1/namespaces/n"),
        (path_of("Deployment", namespace="n"), "/apis/apps/v1/namespaces/n/deployments"),
        (
            path_of("ServiceAccount", "web", namespace="n", part="token"),
            "/api/v1/namespaces/n/serviceaccounts/web/token",
        ),
        (
            path_of("Pod", "../x?y#z", namespace="a/b"),
            "/api/v1/namespaces/a%2Fb/pods/..%2Fx%3Fy%23z",
        ),
    ],
)
def test_each_name_is_one_segment_of_a_path(path: str, expected: str) -> None:
    assert path == expected


@pytest.mark.parametrize("name", [".", ".."])
def test_name_that_clients_remove_from_a_path_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        path_of("Pod", name, namespace="n")
    with pytest.raises(UsageError):
        path_of("Pod", "web", namespace=name)
