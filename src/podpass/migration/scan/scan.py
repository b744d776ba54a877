"""Scan folders, files and images, and decide."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from podpass.migration.scan.decision import decide_all
from podpass.migration.scan.folder import open_regular, walk
from podpass.migration.scan.image import Image, ImageFile
from podpass.migration.scan.limits import MIB, Budget, is_path_allowed
from podpass.migration.scan.model import (
    ContentStream,
    Mention,
    Report,
    Result,
    ScanFailed,
    printable,
)
from podpass.migration.scan.readers import NotRead, choose_reader, read_file
from podpass.migration.scan.tar_stream import EntryType, read_entries

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


class Overlay:
    """The mentions of all layers so far, by path.

    Only names that hide a known path are stored, so that the memory depends on the findings and not on the
    image.
    """

    def __init__(self) -> None:
        self._found: dict[str, Sequence[Mention]] = {}
        self._layer: dict[str, Sequence[Mention]] = {}
        # Sorted, to find a folder by the names below it: a set of all parents of deep paths takes gigabytes.
        self._sorted: list[str] = []
        self._hidden: set[str] = set()
        self._hidden_folders: set[str] = set()

    def start_layer(self) -> None:
        """Merge the current layer into the layers below, and start the next layer."""
        if self._hidden or self._hidden_folders:
            self._found = {
                path: each for path, each in self._found.items() if not self._is_hidden(path)
            }
        self._found |= self._layer
        self._sorted = sorted(self._found)
        self._layer, self._hidden, self._hidden_folders = {}, set(), set()

    def add_entry(self, path: str, *, is_folder: bool) -> None:
        """Hide files of lower layers at the path of an entry or of a whiteout's target."""
        folder, _, name = path.rpartition("/")
        if name == _OPAQUE:
            self._hide(folder, is_content=True)
        elif name.startswith(_WHITEOUT) and name != _WHITEOUT:
            hidden = name[len(_WHITEOUT) :]
            self._hide(f"{folder}/{hidden}" if folder else hidden)
        elif not is_folder:
            self._hide(path)
            self._layer.pop(path, None)

    def add_mentions(self, path: str, mentions: Sequence[Mention]) -> None:
        self._layer[path] = mentions

    def mentions(self) -> Iterator[tuple[str, Mention]]:
        """Yield path and mention of all files that are visible in the image."""
        self.start_layer()
        for path, mentions in self._found.items():
            for each in mentions:
                yield path, each

    def _hide(self, path: str, *, is_content: bool = False) -> None:
        """Hide a path and what is below it, or only what is below it."""
        if path in self._found and not is_content:
            self._hidden.add(path)
        if not path or self._is_folder(path):
            self._hidden_folders.add(path)

    def _is_folder(self, path: str) -> bool:
        """Return whether a file below a path was found in the layers below."""
        at = bisect_left(self._sorted, f"{path}/")
        return at < len(self._sorted) and self._sorted[at].startswith(f"{path}/")

    def _is_hidden(self, path: str) -> bool:
        if path in self._hidden:
            return True
        return bool(self._hidden_folders) and any(
            folder in self._hidden_folders for folder in (*_parents(path), "")
        )


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


# Called with what is scanned and how much of it has been read.
Progress = Callable[[str, str], None]

_MAX_NOTES = 20
_PROGRESS_FILES = 20_000


class TargetMissing(ScanFailed):
    """A path does not exist."""

    code = "scan_target_missing"
    hint = "pass a folder, a file of `docker save`, an OCI layout, or pod/NAME or namespace/NAME"


def scan_paths(target: str, paths: Sequence[Path], progress: Progress) -> Report:
    """Scan images, folders or single files as one target. Raises ScanFailed."""
    budget, report = Budget(), Report(target=printable(target))
    found: list[tuple[str, Mention]] = []
    for path in paths:
        if not path.exists():
            raise TargetMissing(f"{path} does not exist")
        if is_image(path):
            found += _scan_image(path, budget, report, progress)
        elif path.is_dir():
            found += _scan_folder(path, budget, report, progress)
        else:
            found += _scan_file(path, budget, report)
    report.findings = decide_all(found)
    return report


def report_unreadable(target: str, why: str) -> Report:
    """Return the report of a target whose files are not on this machine."""
    report = Report(target=printable(target))
    _note(report, why)
    return report


def is_image(path: Path) -> bool:
    """Return whether a path is an image: a tar archive, or a folder with an OCI layout."""
    if path.is_dir():
        return (path / "oci-layout").is_file() and (path / "index.json").is_file()
    return path.name.endswith((".tar", ".tar.gz", ".tgz"))


def _scan_folder(
    root: Path, budget: Budget, report: Report, progress: Progress
) -> Iterable[tuple[str, Mention]]:
    skipped: list[str] = []
    for count, path in enumerate(walk(root, budget, skipped), 1):
        yield from _scan_one(root / path, path, budget, report)
        if count % _PROGRESS_FILES == 0:
            progress(str(root), f"{count} files read")
    for path in skipped:
        _note(
            report,
            f"{path[:100] or root}: not read, because it is not accessible, its path is too long, or it is on"
            " another file system",
        )


def _scan_file(path: Path, budget: Budget, report: Report) -> Iterable[tuple[str, Mention]]:
    budget.charge_name(str(path))
    yield from _scan_one(path, str(path), budget, report)


def _scan_one(
    file: Path, path: str, budget: Budget, report: Report
) -> Iterable[tuple[str, Mention]]:
    reader = choose_reader(path)
    if reader is None:
        return
    stream = open_regular(file)
    if stream is None:
        _note(report, f"{path[:100]}: not read, because it cannot be opened as a regular file")
        return
    with stream:
        for mention in _read(path, _CountedFile(stream, budget), report):
            budget.charge_finding()
            yield path, mention


def _read(path: str, stream: ContentStream, report: Report) -> list[Mention]:
    reader = choose_reader(path)
    assert reader is not None
    try:
        return read_file(path, reader, stream)
    except NotRead as exc:
        _note(report, f"{path[:100]}: not read, because {exc}")
        return []


class _CountedFile:
    """A file whose bytes count towards the limits."""

    def __init__(self, stream: ContentStream, budget: Budget) -> None:
        self._stream, self._budget = stream, budget

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._budget.charge_bytes(len(data))
        return data


def _scan_image(
    path: Path, budget: Budget, report: Report, progress: Progress
) -> Iterable[tuple[str, Mention]]:
    with ImageFile(path, budget) as file:
        images = file.images()
        for image in images:
            if image.system != "linux":
                _note(
                    report,
                    f"the image is for {image.system[:20]}: the sidecar runs on Linux only",
                    is_gap=False,
                )
            overlay = Overlay()
            for number, layer in enumerate(image.layers, 1):
                overlay.start_layer()
                _scan_layer(file.open_layer(layer), overlay, budget, report)
                progress(f"layer {number} of {len(image.layers)}", _describe(image, budget))
            for place, mention in overlay.mentions():
                yield (f"{image.name}: {place}" if len(images) > 1 else place), mention


def _describe(image: Image, budget: Budget) -> str:
    read = (Budget().total - budget.total) // MIB
    return f"{printable(image.name[:100]) or 'image'}, {read} MiB read"


def _scan_layer(stream: ContentStream, overlay: Overlay, budget: Budget, report: Report) -> None:
    linked = 0
    for entry in read_entries(stream, budget):
        if not is_path_allowed(entry.path):
            _note(report, f"{entry.path[:100]}: not read, because its path is too long")
            continue
        overlay.add_entry(entry.path, is_folder=entry.type is EntryType.FOLDER)
        reader = choose_reader(entry.path)
        if entry.type is EntryType.FILE and reader is not None:
            mentions = _read(entry.path, entry.content, report)
            if mentions:
                for _ in mentions:
                    budget.charge_finding()
                overlay.add_mentions(entry.path, mentions)
        elif (
            entry.type is EntryType.LINK and reader is not None and (reader.parse or reader.is_jar)
        ):
            linked += 1
    if linked:
        _note(
            report,
            f"{linked} files that could name a library are links and were not read",
            is_gap=False,
        )


def _note(report: Report, text: str, *, is_gap: bool = True) -> None:
    """Add a note; a gap makes the report incomplete."""
    report.is_complete = report.is_complete and not is_gap
    if len(report.notes) < _MAX_NOTES:
        report.notes.append(printable(text))
    elif len(report.notes) == _MAX_NOTES:
        report.notes.append("more files were not read")


def exit_code(reports: Iterable[Report]) -> int:
    """Return the exit code: 3 if a step is needed, 4 if something is undecided, else 0."""
    codes = [_code(each) for each in reports]
    return 3 if 3 in codes else max(codes, default=0)


def _code(report: Report) -> int:
    if report.result in (Result.UPDATE, Result.SIDECAR):
        return 3
    return 0 if report.result is Result.NONE and report.is_complete else 4
