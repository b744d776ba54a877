"""The names of `devtools_testutils` that live tests of Azure's SDKs import; the package is not published.

Nothing is recorded here, so a sanitizer of recordings does nothing.
"""

import asyncio
import functools
import os
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from azure.identity import DefaultAzureCredential
from azure.identity.aio import DefaultAzureCredential as AsyncDefaultAzureCredential


def is_live() -> bool:
    """Return True: a server answers each request."""
    return True


class EnvironmentVariables:
    """The fixture's value, whose only method that these suites use is for recordings."""

    def sanitize_batch(self, _: dict[str, str]) -> None:
        """Do nothing."""


@pytest.fixture(scope="session")
def environment_variables() -> EnvironmentVariables:
    """Return an object for conftest files."""
    return EnvironmentVariables()


@pytest.fixture(scope="session")
def test_proxy() -> None:
    """Start no proxy for recordings."""


def recorded_by_proxy(test: Any) -> Any:
    """Return the test unchanged."""
    return test


class AzureRecordedTestCase:
    """The base class of live tests: names of resources, credentials and clients."""

    is_live = True

    def is_playback(self) -> bool:
        """Return True: otherwise tests wait for delays of Azure, which podpass does not have."""
        return True

    def get_resource_name(self, prefix: str) -> str:
        """Return a name that no other test uses."""
        return f"{prefix}{uuid.uuid4().hex[:12]}"

    create_random_name = get_resource_name

    @staticmethod
    def await_prepared_test(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
        """Return a synchronous test that runs an asynchronous one in an event loop of its own."""

        @functools.wraps(test)
        def run(*arguments: object, **named: object) -> None:
            asyncio.run(test(*arguments, **named))

        return run

    def get_credential(self, *_: object, is_async: bool = False, **options: Any) -> Any:
        """Return the credential of the environment."""
        return (AsyncDefaultAzureCredential if is_async else DefaultAzureCredential)(**options)

    def create_client_from_credential(self, client: Any, credential: Any, **options: Any) -> Any:
        """Return a client with this credential that logs bodies, as tests of logging expect."""
        return client(credential=credential, **{"logging_enable": True} | options)


class PowerShellPreparer:
    """Passes variables of the environment to a test, by the names of its parameters."""

    def __init__(self, _folder: str, **parameters: str) -> None:
        self._values = {
            name: os.environ.get(name.upper(), value) for name, value in parameters.items()
        }

    def __call__(self, test: Any) -> Any:
        """Return a test without these parameters, which would be fixtures."""

        def run(instance: object) -> Any:
            return test(instance, **self._values)

        return run


class AzureMgmtPreparer:
    """Base class of preparers of older tests, none of which run."""


def _do_nothing(*_: object, **__: object) -> None:
    """Accept the arguments of a sanitizer."""


def __getattr__(name: str) -> Any:
    if name.startswith(("add_", "set_", "remove_")):
        return _do_nothing
    raise AttributeError(name)
