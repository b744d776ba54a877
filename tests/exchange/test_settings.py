"""Settings of the token service that cannot be are refused, all at once."""

from typing import Any

import pytest

from podpass.errors import SettingsError
from podpass.settings import AuthoritySettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user_token_seconds", 599),
        ("user_token_seconds", 86_400),
        ("propagation_seconds", -1),
        ("propagation_seconds", 3601),
        ("pages_origin", "https://elsewhere.test"),
        ("pages_origin", "https://login.microsoftonline.com/path"),
    ],
)
def test_a_value_out_of_range_is_refused(name: str, value: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        AuthoritySettings(**{name: value})
    assert name in str(caught.value)


def test_the_page_may_be_at_any_of_the_services_own_origins() -> None:
    origins = ("https://login.microsoftonline.com", "https://localhost:1")
    assert AuthoritySettings(origins=origins, pages_origin=origins[1]).pages_origin == origins[1]
