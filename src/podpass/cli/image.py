"""`podpass image`."""

import os
import shlex
from pathlib import Path

import click
from kubeling.kubelet.images import ImageConfig

from podpass.cli import options
from podpass.cli.commands import SuggestingGroup
from podpass.cli.output import print_message, print_output
from podpass.errors import Error, UsageError
from podpass.lab.cluster import images
from podpass.lab.cluster.image_source import base_name
from podpass.lab.cluster.samples import catalogue
from podpass.lab.cluster.samples.cache import SampleCache, cache_folder
from podpass.lab.cluster.samples.model import Sample
from podpass.lab.cluster.samples.prepare import BuildFailed, RegistryUnreachable, ToolsMissing
from podpass.lab.cluster.samples.prepare import prepare as prepare_sample
from podpass.lab.data.datadir import DataDir, check_version, prepare, write_version

_COLUMNS = {
    "NAME": "name",
    "FROM": "origin",
    "COMMAND": "command_line",
    "READY": "ready",
    "REASON": "why",
    "RESOLUTION": "todo",
}


def _sample_cache() -> SampleCache:
    environ = options.environ()
    return SampleCache(cache_folder(environ), environ.get("PATH", os.defpath))


@click.group(
    cls=SuggestingGroup,
    epilog="Images are not pulled: `podpass image add NAME -- COMMAND`"
    " configures the program that runs for one.",
)
def command() -> None:
    """Manage the commands that run for container images.

    podpass does not pull images. A container without a `command` runs the command that is configured for its
    image.
    """


@command.command("list")
@options.data_dir
@options.output()
def list_(data_dir: DataDir, output: str) -> None:
    """List images: those that can run here, and what the others need."""
    check_version(data_dir)
    rows = images.list_images(data_dir, _sample_cache())
    if output != "table":
        rows = [{name: row[name] for name in row if name != "command_line"} for row in rows]
    print_output(rows, output, _COLUMNS)


@command.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@options.data_dir
@click.option(
    "--cmd",
    is_flag=True,
    help="The arguments are the CMD of the image: a container's args replace them. By default they are its"
    " ENTRYPOINT, to which args are appended.",
)
@click.argument("name")
@click.argument("words", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
def add(data_dir: DataDir, cmd: bool, name: str, words: tuple[str, ...]) -> None:
    """Configure the program that runs for an image.

    Relative paths of the program, and of arguments that begin with ./ or ../, become absolute.
    """
    # Click does not remove a `--` after the first argument.
    words = words[1:] if words[0] == "--" else words
    if not words:
        raise click.UsageError("Missing argument '-- CMD...'.")
    folder = Path.cwd()
    resolved = images.resolve_command(words, folder, _sample_cache())
    config = ImageConfig(command=resolved) if cmd else ImageConfig(entrypoint=resolved)
    prepare(data_dir)
    write_version(data_dir)
    images.add_image(data_dir, name, config)
    for word in images.find_local_files(words, folder):
        print_message(
            f"warning: {word} is a file of this folder, but containers start in another folder;"
            f" to pass the file, write ./{word}"
        )
    print_message(f"containers with the image {name} run: {shlex.join(resolved)}")


@command.command("prepare")
@click.argument("name", required=False)
@click.option(
    "--all", "everything", is_flag=True, help="Build every sample whose tools are installed."
)
@click.option("--again", is_flag=True, help="Build again, even if it is built already.")
def prepare_(name: str | None, everything: bool, again: bool) -> None:
    """Build a sample image of Microsoft's documentation, once for all instances.

    NAME is msal-python, msal-node, msal-go, msal-java or msal-net, or the full image name. Packages are
    downloaded from the registry of the language. The result is stored in $XDG_CACHE_HOME/podpass/samples.
    """
    if everything == (name is not None):
        raise UsageError("pass one sample name, or --all", hint=f"the samples are: {_NAMES}")
    samples = _sample_cache()
    if name is None:
        _prepare_all(samples, again)
    else:
        prepare_sample(_find_sample(name), samples, options.environ(), print_message, again=again)


def _prepare_all(samples: SampleCache, again: bool) -> None:
    """Build all samples; a missing tool is reported and is not a failure."""
    failed: list[Error] = []
    for sample in catalogue.SAMPLES:
        if samples.readiness(sample).ready and not again:
            print_message(f"{sample.name}: already built")
            continue
        try:
            prepare_sample(sample, samples, options.environ(), print_message, again=again)
        except ToolsMissing as exc:
            print_message(f"{sample.name}: skipped. {exc.message}: {exc.hint}")
        except (RegistryUnreachable, BuildFailed) as exc:
            print_message(f"{sample.name}: failed. {exc.message}: {exc.hint}")
            failed.append(exc)
    if failed:
        raise failed[0]


def _find_sample(name: str) -> Sample:
    sample = catalogue.find_by_name(base_name(name))
    if sample is None:
        raise UsageError(
            f"{name} is not a sample of the documentation", hint=f"the samples are: {_NAMES}"
        )
    return sample


_NAMES = ", ".join(sample.name for sample in catalogue.SAMPLES)
