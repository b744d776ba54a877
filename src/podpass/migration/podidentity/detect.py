"""Convert the pod identities of one namespace, and write the files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podpass.errors import Error
from podpass.kubernetes.client import KubeClient
from podpass.migration.podidentity.cluster import NamespaceReader
from podpass.migration.podidentity.model import DetectOptions, GeneratedFile
from podpass.migration.podidentity.plan import build_plan
from podpass.migration.podidentity.workload import service_account_name


class OutputRefused(Error):
    """A file of the output directory cannot be written."""

    code = "output_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectResult:
    """Names of the written files, warnings, and the subjects that need a federated credential."""

    files: Sequence[str]
    warnings: Sequence[str]


async def detect(client: KubeClient, options: DetectOptions) -> DetectResult:
    """Write a ServiceAccount and a manifest for each workload; write nothing if one cannot be converted.

    Raises PodIdentityMissing, UnsupportedWorkload, InvalidObject, OutputRefused, KubeError.
    """
    reader = NamespaceReader(client, options.namespace)
    identities = await reader.read_identities()
    workloads = await reader.read_workloads(identities) if identities else []
    if not workloads:
        return DetectResult(files=(), warnings=())
    used = {service_account_name(each.body) for each in workloads} - {""}
    accounts = await reader.read_accounts(used)
    plan = build_plan(workloads, accounts, options)
    _write_files(plan.files, options.output_dir)
    return DetectResult(files=[each.name for each in plan.files], warnings=plan.warnings)


def _write_files(files: Sequence[GeneratedFile], folder: Path) -> None:
    """Write new files; refuse all if one exists with another content."""
    changed = [each for each in files if not _is_written(folder / each.name, each.text)]
    existing = [
        each.name
        for each in changed
        if (folder / each.name).is_symlink() or (folder / each.name).exists()
    ]
    if existing:
        raise OutputRefused(
            f"{folder / existing[0]} exists with another content; no file was written",
            hint="choose an empty directory with --output-dir, or move the file away",
        )
    for each in changed:
        try:
            with (folder / each.name).open("x", encoding="utf-8") as file:
                file.write(each.text)
        except OSError as exc:
            raise OutputRefused(
                f"cannot write {folder / each.name}: {exc.strerror}",
                hint="choose a directory with --output-dir in which you can create files",
            ) from exc


def _is_written(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, ValueError):
        return False
