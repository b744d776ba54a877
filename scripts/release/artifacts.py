"""Builds all files of a release from a commit into one folder."""

import hashlib
import json
import platform
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import notes
import oci
import packaging
import programs
from provenance import Builder, statement
from source import Source, export

CHARTS = ("podpass", "podpass-authority", "podpass-cloud")
# The images, each with the target of scripts/image.py; the first has all commands.
IMAGES = {
    "podpass": "",
    "podpass-webhook": "webhook",
    "podpass-authority": "authority",
    "podpass-proxy": "proxy",
    "podpass-proxy-init": "proxy-init",
}
CHART_SUFFIX, IMAGE_SUFFIX = ".chart.oci.tar", ".image.oci.tar"
SUMS, PROVENANCE, NOTES = "SHA256SUMS", "provenance.intoto.json", "release-notes.md"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


class Build:
    """One build: the exported commit, an environment with its wheel, and the files that it makes."""

    def __init__(self, source: Source, out: Path, work: Path) -> None:
        self._source, self.out, self._work = source, out, work
        out.mkdir(parents=True, exist_ok=True)
        self._tree = work / "podpass"
        self._environ = {"SOURCE_DATE_EPOCH": str(source.epoch), "TZ": "UTC", "LC_ALL": "C.UTF-8"}
        self.not_built: list[str] = []
        export(source, self._tree)
        self._python: Path | None = None

    def distributions(self) -> None:
        """Build the sdist, the wheel from it, and install the wheel in an environment."""
        command = (sys.executable, "-m", "build", "--no-isolation", "--outdir", str(self.out))
        programs.run(*command, str(self._tree), environ=self._environ)
        (wheel,) = self.out.glob("*.whl")
        self._python = programs.make_venv(self._work / "venv")
        programs.install(self._python, self._tree / "constraints.txt", str(wheel))

    def bill_of_materials(self) -> None:
        """Write what an installation of the wheel consists of, in CycloneDX."""
        assert self._python is not None
        file = self.out / f"podpass-{self._source.version}.cdx.json"
        options = ("--output-reproducible", "--no-validate", "--mc-type", "application")
        project = ("--pyproject", str(self._tree / "pyproject.toml"))
        command = (sys.executable, "-m", "cyclonedx_py", "environment", *options, *project)
        text = programs.run(*command, str(self._python), environ=self._environ)
        bom = _with_version(text, self._source.version)
        validate_bom(bom)
        file.write_text(bom)

    def charts(self) -> None:
        """Build each chart with Helm: its package, and the package as an OCI layout."""
        try:
            helm = programs.find("helm")
        except programs.ProgramMissing as exc:
            self.not_built.append(f"charts: {exc}")
            return
        packages = self._work / "charts"
        for name in CHARTS:
            programs.run(helm, "package", str(self._tree / "charts" / name), "-d", str(packages))
        for file in sorted(packages.iterdir()):
            package = oci.normalize_package(file.read_bytes(), self._source.epoch)
            (self.out / file.name).write_bytes(package)
            (self.out / f"{file.stem}{CHART_SUFFIX}").write_bytes(oci.chart_layout(package))

    def images(self, names: Iterable[str], others: Path | None = None) -> None:
        """Build the images of this machine, and join each with those of other machines."""
        built = self._work / "images"
        built.mkdir()
        for name in names:
            try:
                self._image(name, built)
            except programs.ProgramFailed as exc:
                self.not_built.append(f"image {name}: {str(exc).splitlines()[-1]}")
        version = self._source.version
        for name in IMAGES:
            files = sorted(built.glob(f"{name}-{version}-linux-*.tar"))
            files += sorted(others.rglob(f"{name}-{version}-linux-*.tar")) if others else []
            if files:
                joined = oci.join_images(files, name, version)
                (self.out / f"{name}-{version}{IMAGE_SUFFIX}").write_bytes(joined)
        for folder in filter(None, (built, others)):
            for file in folder.rglob("*-linux-*.cdx.json"):
                shutil.copyfile(file, self.out / file.name)

    def machine_images(self, names: Iterable[str]) -> None:
        """Build images of this machine only, for a machine of another kind that joins them."""
        for name in names:
            self._image(name, self.out)

    def _image(self, name: str, folder: Path) -> None:
        assert self._python is not None
        target = IMAGES[name]
        tools = self._work / "tools" / "packaging"
        if not tools.exists():
            shutil.copytree(Path(packaging.__file__).parent, tools)
        # The image has no modules that another build has compiled.
        environ = {
            **self._environ,
            "PYTHONPATH": str(tools.parent),
            "PODPASS_IMAGE_BYTECODE": "",
        }
        script = (str(self._python), str(self._tree / "scripts" / "image.py"))
        # The image of all commands and that of the token service have the same files.
        has_all = target in ("", "authority")
        root = self._work / ("root" if has_all else f"root-{target}")
        if not root.exists():
            made = ("root", str(root)) if has_all else ("target", target, str(root))
            programs.run(*script, *made, environ=environ)
        machine = _MACHINES.get(platform.machine(), platform.machine())
        file = folder / f"{name}-{self._source.version}-linux-{machine}.tar"
        programs.run(
            *script, "pack", str(root), str(file), *filter(None, [target]), environ=environ
        )

    def finish(self, builder: Builder) -> None:
        """Write release notes, provenance and checksums."""
        text = notes.release_notes(self._source.root, self._source.version)
        (self.out / NOTES).write_text(text)
        subjects = {file.name: digest(file) for file in sorted(self.out.iterdir())}
        written = statement(self._source, builder, subjects, self._materials())
        (self.out / PROVENANCE).write_text(json.dumps(written, indent=2) + "\n")
        subjects[PROVENANCE] = digest(self.out / PROVENANCE)
        lines = [f"{subjects[name]}  {name}\n" for name in sorted(subjects)]
        (self.out / SUMS).write_text("".join(lines))

    def _materials(self) -> list[str]:
        """Return the packages of the SBOM as package URLs."""
        boms = [json.loads(file.read_text()) for file in self.out.glob("*.cdx.json")]
        return sorted({one["purl"] for bom in boms for one in bom["components"] if "purl" in one})


def digest(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def check_sums(folder: Path) -> int:
    """Compare all files with SHA256SUMS; return their number. Raises ProgramFailed."""
    lines = (folder / SUMS).read_text().splitlines()
    listed = {name: value for value, name in (line.split("  ", 1) for line in lines)}
    found = {file.name: digest(file) for file in folder.iterdir() if file.name != SUMS}
    if different := sorted({name for name, _ in found.items() ^ listed.items()}):
        raise programs.ProgramFailed(f"{SUMS} does not describe {', '.join(different)}")
    return len(listed)


def validate_bom(text: str) -> None:
    """Check an SBOM with the schema of its version. Raises ProgramFailed."""
    # Without this module, the validator does not check the syntax of URLs, which took a fifth of a build.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    version = SchemaVersion.from_version(json.loads(text)["specVersion"])
    if error := JsonStrictValidator(version).validate_str(text):
        raise programs.ProgramFailed(f"the SBOM is invalid: {error}")


def _with_version(text: str, version: str) -> str:
    """Return the SBOM with the version of podpass, which pyproject.toml does not contain."""
    bom = json.loads(text)
    bom["metadata"]["component"]["version"] = version
    return json.dumps(bom, indent=2, sort_keys=True) + "\n"
