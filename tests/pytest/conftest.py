"""The plugin's fixture, as a project uses it; `podpass` of the other folders is the command line."""

from collections.abc import Iterator

import pytest

from podpass.pytest.instance import Podpass


@pytest.fixture
def podpass(podpass_instance: Podpass) -> Iterator[Podpass]:
    """Override the fixture of tests/conftest.py as the plugin defines it."""
    # Tests of other folders share the instance, and do not reset it.
    podpass_instance.reset()
    yield podpass_instance
    podpass_instance.reset()
