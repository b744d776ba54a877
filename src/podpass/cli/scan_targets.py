"""Find the files behind a target of `podpass migrate scan`: a path, an image, a pod, or a namespace."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podpass import names
from podpass.cli.client import read_status
from podpass.cli.cluster import connect_to_cluster
from podpass.errors import Error, UsageError
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.paths import is_object_name
from podpass.lab.cluster.image_source import IMAGES_FILE, InstanceImages
from podpass.lab.cluster.samples.cache import SampleCache, cache_folder
from podpass.lab.data.datadir import DataDir

_SYSTEM_FOLDERS = ("/bin", "/sbin", "/lib", "/lib64", "/usr")
_OWN_CONTAINERS = (names.PROXY_CONTAINER, names.PROXY_INIT_CONTAINER)
_NO_PODS = "the namespace does not exist or has no pods. Workloads without pods are not scanned"
_NOT_FOUND = 404
_KINDS = {
    "pod": "pod",
    "pods": "pod",
    "po": "pod",
    "namespace": "namespace",
    "namespaces": "namespace",
    "ns": "namespace",
}


class UnknownPod(Error):
    """The cluster does not have the pod."""

    code = "unknown_pod"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanTarget:
    """The files that are scanned together; if `paths` is empty, `why` has the reason."""

    name: str
    paths: Sequence[Path] = ()
    why: str = ""
    notes: Sequence[str] = field(default=())


async def find_targets(
    word: str,
    namespace: str,
    data_dir: DataDir,
    kubeconfig: Path | None,
    environ: Mapping[str, str],
) -> list[ScanTarget]:
    """Return the targets of the argument. Raises UsageError, KubeError, BadKubeconfig."""
    kind, slash, name = word.partition("/")
    if slash and kind in _KINDS and not Path(word).exists():
        images = _images(data_dir, environ)
        is_pod = _KINDS[kind] == "pod"
        path = f"/api/v1/namespaces/{_check(namespace if is_pod else name)}/pods"
        path += f"/{_check(name)}" if is_pod else ""
        async with connect_to_cluster(data_dir, kubeconfig, environ) as client:
            pods = [await _read_pod(client, path)] if is_pod else (await client.list(path))[0]
            is_own = client.server == _own_server(data_dir)
        targets = list(_targets_of_pods(pods, images if is_own else None))
        return targets or [ScanTarget(name=word, why=_NO_PODS)]
    if Path(word).exists():
        return [ScanTarget(name=word, paths=[Path(word)])]
    if not _is_path(word):
        target = _target_of_image(word, _images(data_dir, environ))
        if target.paths:
            return [target]
    if _is_path(word):
        raise UsageError(
            f"{word} does not exist",
            hint="pass the path of a folder, of a jar or another file, or of a file of `docker save`",
        )
    raise UsageError(
        f"{word} is not a file or folder, and this machine has no program for an image of this name",
        hint=f"for a pod: pod/NAME; for a namespace: namespace/NAME; for an image: docker save {word} -o"
        " image.tar, then: podpass migrate scan image.tar",
    )


def _is_path(word: str) -> bool:
    """Return whether a word can only be a path, because no image has such a name."""
    return word.startswith(("/", ".", "~")) or word.endswith((".tar", ".tgz", ".tar.gz", ".jar"))


def _check(name: str) -> str:
    if not is_object_name(name):
        raise UsageError(
            f"{name!r} is not a valid name of a Kubernetes object",
            hint="write pod/NAME or namespace/NAME",
        )
    return name


async def _read_pod(client: KubeClient, path: str) -> Mapping[str, Any]:
    try:
        return await client.get(path)
    except KubeError as exc:
        if exc.status != _NOT_FOUND:
            raise
        namespace = path.split("/")[4]
        raise UnknownPod(
            exc.message,
            hint=f"list the pods: kubectl get pods --namespace {namespace};"
            " for another namespace, pass --namespace N",
        ) from exc


def _own_server(data_dir: DataDir) -> str:
    status = read_status(data_dir)
    return str(status["kubernetes"].get("server", "")) if status else ""


def _images(data_dir: DataDir, environ: Mapping[str, str]) -> InstanceImages:
    samples = SampleCache(cache_folder(environ), environ.get("PATH", os.defpath))
    return InstanceImages(images_file=data_dir.path(IMAGES_FILE), samples=samples)


def _targets_of_pods(
    pods: Iterable[Mapping[str, Any]], images: InstanceImages | None
) -> Iterable[ScanTarget]:
    """Yield one target for each container of each pod."""
    for pod in sorted(pods, key=lambda each: str(each["metadata"]["name"])):
        spec = pod.get("spec") or {}
        notes = (
            ["the pod uses the network of the node: the sidecar cannot serve it"]
            if spec.get("hostNetwork")
            else []
        )
        containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
        for container in containers:
            if container["name"] in _OWN_CONTAINERS:
                continue
            name = f"pod/{pod['metadata']['name']} container {container['name']}"
            image = str(container.get("image") or "")
            if images is None:
                why = f"the image {image} is in another cluster's registry. {_how_to_save(image)}"
                yield ScanTarget(name=name, why=why, notes=notes)
                continue
            command = [str(each) for each in container.get("command") or ()]
            arguments = [str(each) for each in container.get("args") or ()]
            found = (
                _target_of_words([*command, *arguments], images.samples)
                if command
                else _target_of_image(image, images)
            )
            yield ScanTarget(name=name, paths=found.paths, why=found.why, notes=notes)


def _target_of_image(image: str, images: InstanceImages) -> ScanTarget:
    try:
        program = images.resolve(image, "Never")
    except Error as exc:
        why = f"podpass has no program for the image {image}: {exc.message}. {_how_to_save(image)}"
        return ScanTarget(name=image, why=why)
    found = _target_of_words([*program.entrypoint, *program.command], images.samples)
    return ScanTarget(name=image, paths=found.paths, why=found.why)


def _how_to_save(image: str) -> str:
    return f"Run: docker save {image or 'IMAGE'} -o image.tar; podpass migrate scan image.tar"


def _target_of_words(words: Sequence[str], samples: SampleCache) -> ScanTarget:
    """Return the files of a command: its program, the folders of its files, and its Python environment."""
    paths: dict[Path, None] = {}
    for number, word in enumerate(words):
        found = samples.find(word) if number == 0 else word
        if found is None or not found.startswith("/") or not Path(found).is_file():
            continue
        path = Path(found)
        environment = path.parent.parent
        if path.name.startswith("python") and (environment / "pyvenv.cfg").exists():
            paths[environment] = None
        elif str(path).startswith(_SYSTEM_FOLDERS):
            paths[path] = None
        else:
            paths[path.parent] = None
    if not paths:
        return ScanTarget(name=" ".join(words), why="the command names no file that can be scanned")
    return ScanTarget(name=" ".join(words), paths=list(paths))
