"""The settings given on the command line or in the environment."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from podpass.cli import up
from podpass.settings import LocalSettings
from podpass.settings.fields import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class More(LocalSettings):
    """Settings with one more field, which has no option on the command line."""

    added: int = setting("a number", flag="--added", variable="PODPASS_ADDED", default=1)


def test_only_chosen_settings_are_returned_by_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PODPASS_KUBERNETES", "embedded")
    arguments = ["--data-dir", str(tmp_path), "--port-base", "0"]
    with up.command.make_context("up", arguments) as ctx:
        settings = More(data_dir=tmp_path, port_base=0)
        assert up._chosen_settings(ctx, settings) == {"--port-base": 0, "--kubernetes": "embedded"}
