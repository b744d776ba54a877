"""Import modules of kubeling's tests by their file: both test packages have the name `tests`."""

import importlib.util
from pathlib import Path
from typing import Any

_TESTS = Path(__file__).parents[2] / "kubeling" / "tests"


def load(name: str) -> Any:
    """Import a module by its path below kubeling's tests; it must import no other of these modules."""
    path = _TESTS / name
    spec = importlib.util.spec_from_file_location(f"kubeling_tests_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
