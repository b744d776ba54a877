"""Make a release: `python scripts/release COMMAND`.

`make release` runs `build`, `verify` and `plan`. They send nothing; `push` uploads images and charts. The
workflow of the release publishes the rest. docs/contribute/release.md describes the steps of a maintainer.
"""

import argparse
import datetime as dt
import shutil
import sys
import tempfile
from pathlib import Path

import artifacts
import installed
import notes
import programs
import publish
import source
import verify
from oci import InvalidImageLayout
from provenance import Builder

_REGISTRY = "ghcr.io/OWNER"


def main() -> None:
    """Run the command of the arguments."""
    parser = argparse.ArgumentParser(prog="scripts/release", description=__doc__)
    parser.add_argument("--root", type=Path, default=programs.ROOT, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (function, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(function=function)
        if name in ("build", "images"):
            command.add_argument("--tag", help="tag that is about to be published")
            command.add_argument(
                "--image",
                action="append",
                choices=list(artifacts.IMAGES),
                help="build only this image; repeatable",
            )
        if name == "charts":
            command.add_argument("--work", type=Path, required=True, help="folder of `verify`")
        if name in ("build", "images", "verify", "charts", "plan", "push"):
            command.add_argument(
                "--dist", type=Path, default=Path("dist"), help="folder of the files"
            )
        if name in ("plan", "push"):
            command.add_argument(
                "--registry", default=_REGISTRY, help="registry of images and charts"
            )
        if name == "build":
            command.add_argument("--images", type=Path, help="images of machines of other kinds")
            command.add_argument("--builder", default=Builder().uri, help="URI of the workflow")
            command.add_argument("--repository", help="URI of the repository")
        if name == "changelog":
            command.add_argument("--date", default=str(dt.datetime.now(dt.UTC).date()))
        if name == "version":
            command.add_argument("version")
    options = parser.parse_args()
    try:
        options.function(options)
    except (
        InvalidImageLayout,
        notes.InvalidFragment,
        programs.ProgramFailed,
        programs.ProgramMissing,
        installed.PortInUse,
        source.ReleaseRefused,
    ) as exc:
        sys.exit(f"no release: {exc}")


def _build(options: argparse.Namespace) -> None:
    """Build all files."""
    found = source.open_source(options.root, options.tag)
    shutil.rmtree(options.dist, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="podpass-release-") as work:
        made = artifacts.Build(found, options.dist.absolute(), Path(work))
        for what in (made.distributions, made.bill_of_materials, made.charts):
            _say(f"building {what.__name__.replace('_', ' ')}")
            what()
        _say("building images")
        made.images(options.image or artifacts.IMAGES, options.images)
        made.finish(Builder(options.builder, options.repository))
    for line in made.not_built:
        _say(f"NOT BUILT: {line}")
    if made.not_built and found.is_tagged:
        raise source.ReleaseRefused("a tagged release has all files; install what is missing")
    _say(f"podpass {found.version} of commit {found.commit[:12]} is in {options.dist}")


def _images(options: argparse.Namespace) -> None:
    """Build the images of this machine, for `build --images`."""
    found = source.open_source(options.root, options.tag)
    with tempfile.TemporaryDirectory(prefix="podpass-release-") as work:
        made = artifacts.Build(found, options.dist.absolute(), Path(work))
        made.distributions()
        made.machine_images(options.image or artifacts.IMAGES)


def _verify(options: argparse.Namespace) -> None:
    """Install the files in clean environments, and run them."""
    verify.verify(options.dist.absolute(), source.read_version(options.root), options.root, _say)


def _charts(options: argparse.Namespace) -> None:
    """Run the charts, as `verify` does it in a network of its own."""
    version = source.read_version(options.root)
    verify.charts(options.dist.absolute(), version, options.work, print)


def _plan(options: argparse.Namespace) -> None:
    """Print what a release publishes; nothing is sent."""
    version = source.read_version(options.root)
    _say("a release would publish, and this command sends nothing:")
    for line in publish.plan(options.dist, options.registry, version):
        print(f"  {line}")


def _push(options: argparse.Namespace) -> None:
    """Upload the images and the charts to a registry; print their names with digests."""
    for one in publish.uploads(options.dist, options.registry, source.read_version(options.root)):
        print(publish.push(one), flush=True)


def _changelog(options: argparse.Namespace) -> None:
    """Write the fragments into CHANGELOG.md as the entry of the version, and delete them."""
    notes.write_entry(options.root, source.read_version(options.root), options.date)


def _version(options: argparse.Namespace) -> None:
    """Write a new version to all files that contain it."""
    print("\n".join(source.write_version(options.root, options.version)))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


_COMMANDS = {
    "build": (_build, "build all files into dist/"),
    "images": (_images, "build the images of this machine only, for `build --images`"),
    "verify": (_verify, "install the files of dist/ in clean environments and run them"),
    "charts": (_charts, "the part of `verify` that runs in a network of its own"),
    "plan": (_plan, "print what a release publishes; nothing is sent"),
    "push": (_push, "upload images and charts to a registry"),
    "changelog": (_changelog, "move the fragments of changelog.d into CHANGELOG.md"),
    "version": (_version, "write a new version to all files that contain it"),
}


if __name__ == "__main__":
    main()
