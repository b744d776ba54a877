"""Places where the documents of an issuer are published, behind one protocol.

A target is written `folder:PATH`, `azure:https://ACCOUNT.blob.core.windows.net/$web`, `s3://BUCKET/PREFIX` or
`command:PROGRAM ARGUMENTS`. The SDK of a target is imported when the target is used.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path

from podpass.assertion.publishing.model import PRIVATE_KEYS, IssuerError
from podpass.assertion.publishing.targets.target import PublishTarget, TargetError

__all__ = ["PublishTarget", "TargetError", "open_target", "target_problem"]

_FORMS = (
    "folder:PATH, azure:https://ACCOUNT.blob.core.windows.net/$web, s3://BUCKET/PREFIX or"
    " command:PROGRAM"
)


def target_problem(text: str) -> str | None:
    """Return why a text is not a target; None if it is one."""
    kind, _, rest = text.partition(":")
    match kind:
        case "folder":
            is_target = bool(rest)
        case "azure":
            is_target = rest.startswith("https://")
        case "s3":
            is_target = bool(rest.removeprefix("//"))
        case "command":
            return _command_problem(rest)
        case _:
            is_target = False
    return None if is_target else f"{text!r} is not a target: write {_FORMS}"


def _command_problem(text: str) -> str | None:
    try:
        return (
            None if shlex.split(text) else f"the target 'command:' has no program: write {_FORMS}"
        )
    except ValueError as exc:
        return f"the target 'command:' cannot be split into words: {exc}"


def open_target(
    text: str, folder: Path, environ: Mapping[str, str], s3_endpoint: str = ""
) -> PublishTarget:
    """Return the target of a text; a relative path is below the key folder.

    Raises IssuerError for another text, TargetError if the SDK of the target is not installed.
    """
    if problem := target_problem(text):
        raise IssuerError(problem, hint="correct `target` in issuer.yaml")
    kind, _, rest = text.partition(":")
    if kind == "folder":
        from podpass.assertion.publishing.targets.folder import FolderTarget

        root = folder / Path(rest)
        _require_outside_of_keys(root, folder)
        return FolderTarget(root)
    if kind == "azure":
        from podpass.assertion.publishing.targets.azure_storage import AzureStorageTarget

        return AzureStorageTarget(rest, environ)
    if kind == "s3":
        from podpass.assertion.publishing.targets.s3 import S3Target

        return S3Target(rest.removeprefix("//"), s3_endpoint)
    from podpass.assertion.publishing.targets.command import CommandTarget

    return CommandTarget(shlex.split(rest))


def _require_outside_of_keys(root: Path, folder: Path) -> None:
    """Refuse a folder whose web server would also publish private keys: the key folder or one above it."""
    published, keys = root.resolve(), folder.resolve()
    if keys.is_relative_to(published) or published.is_relative_to(keys / PRIVATE_KEYS):
        raise IssuerError(
            f"the target {root} contains private keys: the key folder is {folder}",
            hint="use a folder of its own, such as folder:published",
        )
