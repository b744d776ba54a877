"""kind's node image without a registry: Debian's packages, kind's own files, and Kubernetes from its sources.

kind publishes an image of Debian with systemd and containerd, with the programs of Kubernetes, and with the
images of the control plane in containerd's store. This module assembles the same from packages. Three things
are not kind's: a CNI configuration takes the place of kindnetd, the storage class has no provisioner, and
containerd is Debian's.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench.peers.build import KIND, build_program, module_folder
from bench.peers.controlplane import VERSIONS
from tests.lab.instance.kubectl import binaries
from tests.node import images
from tests.node.sandbox import Sandbox, sandbox, wait_until
from tests.run_program import run_text

VERSION = VERSIONS[0]
NAME = f"kindest/node:v{VERSION}"
_FILES = Path(__file__).parent / "node_files"
_PEERS = images.ROOT / "bench" / "peers"
DEBIAN = Path("/etc/apt/sources.list.d/debian.sources")
_SUITE = "bookworm"
# What kind's Dockerfile installs, without the clients of network storage, and the container runtime.
_PACKAGES = (
    *("systemd", "conntrack", "iptables", "nftables", "iproute2", "ethtool", "util-linux"),
    *("mount", "kmod", "libseccomp2", "pigz", "bash", "ca-certificates", "curl", "jq", "procps"),
    *("containerd", "runc", "containernetworking-plugins"),
)
# Units that are not for a container; kind's Dockerfile removes the same.
_UNWANTED_UNITS = (
    "usr/lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service",
    "usr/lib/systemd/system/multi-user.target.wants/*",
    "etc/systemd/system/*.wants/*",
    "usr/lib/systemd/system/local-fs.target.wants/*",
    "usr/lib/systemd/system/sockets.target.wants/*udev*",
    "usr/lib/systemd/system/sockets.target.wants/*initctl*",
    "usr/lib/systemd/system/basic.target.wants/*",
)
_UNITS = ("kubelet", "containerd", "undo-mount-hacks")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# On a machine with cgroups of version 1, systemd may mount version 2 next to them and manage its units there.
# The kubelet then finds no cgroup of its pods. With version 2 alone, systemd ignores the setting.
_CGROUPS = "systemd.legacy_systemd_cgroup_controller=1"
_EMPTY = ("dev", "proc", "sys", "run", "tmp")
_START_SECONDS = 60


def archive() -> Path:
    """Return the image as a Docker archive; build it if what it is made of has changed."""
    sources = [*Path(__file__).parent.glob("node_image.py"), *_FILES.rglob("*")]
    sources += [*(_PEERS / "kind").iterdir(), *(_PEERS / "crictl").iterdir()]
    sources += (_PEERS / "controlplane" / VERSION).iterdir()
    return images.cached("kind-node-image", sources, _build) / "node.tar"


def _build(folder: Path) -> None:
    root, layer = folder / "root", folder / "node.layer"
    _run(
        "mmdebstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", _SUITE, root, DEBIAN
    )
    _copy_kind(root)
    _copy_programs(root)
    with sandbox() as box, tempfile.TemporaryDirectory(dir=folder) as work:
        _write_base_spec(box, root)
        _import_images(box, root, Path(work))
    empty = [f"--exclude=./{name}/*" for name in _EMPTY]
    _run("tar", "--numeric-owner", *empty, "-C", root, "-cf", layer, ".")
    shutil.rmtree(root)
    image = images.Image(
        name=NAME,
        layers=[layer],
        command=["/usr/local/bin/entrypoint", "/sbin/init", _CGROUPS],
        user="0:0",
        variables={"container": "docker", "PATH": _PATH},
        # SIGTERM makes systemd start itself again.
        stop_signal="SIGRTMIN+3",
    )
    images.write_archive(image, folder / "node.tar")
    layer.unlink()


def _copy_kind(root: Path) -> None:
    """Copy kind's entry point, units and settings, and prepare systemd as kind's Dockerfile does."""
    files = module_folder("kind", KIND) / "images" / "base" / "files"
    for source in sorted(path for path in files.rglob("*") if path.is_file()):
        target = root / source.relative_to(files)
        target.parent.mkdir(parents=True, exist_ok=True)
        # The files of a Go module are read-only, and none is executable.
        target.unlink(missing_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o755 if "bin" in target.relative_to(root).parts else 0o644)
    for pattern in _UNWANTED_UNITS:
        for path in root.glob(pattern):
            path.unlink()
    # Debian's settings of the kernel would also change the machine, whose kernel the nodes share.
    for path in (root / "usr/lib/sysctl.d").iterdir():
        path.unlink()
    _run("chroot", root, "systemctl", "enable", *(f"{unit}.service" for unit in _UNITS))
    _run("chroot", root, "systemctl", "mask", "systemd-binfmt.service")
    with (root / "etc/systemd/journald.conf").open("a") as settings:
        settings.write("ReadKMsg=no\n")
    config = root / "etc/containerd/config.toml"
    # A machine may lack the capability that lower values need; kind does the same for rootless engines.
    text = config.read_text()
    config.write_text(
        text.replace("restrict_oom_score_adj = false", "restrict_oom_score_adj = true")
    )
    shutil.copytree(_FILES, root, dirs_exist_ok=True)


def _copy_programs(root: Path) -> None:
    found = binaries()
    programs = {
        "usr/bin/kubeadm": build_program(f"kubeadm-{VERSION}"),
        "usr/bin/kubelet": build_program(f"kubelet-{VERSION}"),
        "usr/bin/kubectl": Path(found["package"] or found["machine"]),
        "usr/local/bin/crictl": build_program("crictl"),
    }
    for name, source in programs.items():
        shutil.copy(source, root / name)
        (root / name).chmod(0o755)
    # kind's systemd units and settings contain the paths of programs that are built from source.
    links = {
        "sbin/init": "/lib/systemd/systemd",
        "usr/local/bin/containerd": "/usr/bin/containerd",
        "opt/cni/bin": "/usr/lib/cni",
    }
    for name, target in links.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).unlink(missing_ok=True)
        (root / name).symlink_to(target)
    (root / "etc/kubernetes/manifests").mkdir(parents=True)
    (root / "kind/version").write_text(f"v{VERSION}")


def _write_base_spec(box: Sandbox, root: Path) -> None:
    """Write the OCI specification that all containers start from: containerd's own, with kind's hook."""
    spec = json.loads(box.run("chroot", root, "ctr", "oci", "spec").stdout)
    spec["hooks"] = {"createContainer": [{"path": "/kind/bin/mount-product-files.sh"}]}
    del spec["process"]["rlimits"]
    (root / "etc/containerd/cri-base.json").write_text(json.dumps(spec))


def _import_images(box: Sandbox, root: Path, work: Path) -> None:
    """Import the images of the control plane into the store of the image's containerd."""
    box.run("mount", "-t", "tmpfs", "tmpfs", root / "run")
    box.run("mount", "--bind", "/proc", root / "proc")
    box.run("mount", "--bind", "/dev", root / "dev")
    service = box.start("containerd", ["chroot", root, "containerd"])

    def answers() -> bool:
        assert box.exit_code(service) is None, service.log.read_text()[-2000:]
        return box.run("chroot", root, "ctr", "version", check=False).returncode == 0

    wait_until(answers, _START_SECONDS, "containerd")
    for name, files in _images(box, root).items():
        image = images.Image(
            name=name,
            layers=[images.program_layer(work / "image.layer", files)],
            command=[next(iter(files))] if "coredns" in name or "pause" in name else [],
            user="0:0",
            variables={"PATH": _PATH},
        )
        file = images.write_archive(image, work / "image.tar")
        box.run("mount", "--bind", file, _touch(root / "kind/image.tar"))
        command = ("ctr", "-n", "k8s.io", "images", "import", "--no-unpack", "--digests")
        box.run("chroot", root, *command, "/kind/image.tar")
        box.run("umount", root / "kind/image.tar")
    (root / "kind/image.tar").unlink()
    box.stop(service)


def _touch(file: Path) -> Path:
    file.touch()
    return file


def _images(box: Sandbox, root: Path) -> Mapping[str, Mapping[str, Path]]:
    """Return the programs of each image by the names that kubeadm and containerd ask for."""
    listed = ("kubeadm", "config", "images", "list", f"--kubernetes-version=v{VERSION}")
    names = box.run("chroot", root, *listed).stdout.split()
    found = {name: _programs(name.rpartition("/")[2].partition(":")[0]) for name in names}
    settings = (root / "etc/containerd/config.toml").read_text()
    pause = settings.partition('sandbox_image = "')[2].partition('"')[0]
    return found | {pause: _programs("pause")}


def _programs(name: str) -> Mapping[str, Path]:
    """Return the programs of one image by their paths in it."""
    if name in ("coredns", "pause"):
        return {f"/{name}": build_program(name)}
    found = {f"/usr/local/bin/{name}": build_program(f"{name}-{VERSION}")}
    if name == "kube-proxy":
        multi = Path("/usr/sbin/xtables-nft-multi")
        kinds = [
            f"{ip}{verb}" for ip in ("iptables", "ip6tables") for verb in ("", "-save", "-restore")
        ]
        found |= {f"/usr/sbin/{each}": multi for each in kinds}
        (extensions,) = Path("/usr/lib").glob("*/xtables")
        found |= {str(path): path for path in extensions.iterdir()}
    return found


def _run(*command: str | Path) -> None:
    done = run_text([*command])
    assert done.returncode == 0, f"{command[0]}: {(done.stdout + done.stderr)[-2000:]}"
