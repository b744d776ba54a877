"""The paths of a pod, by mounts or by rewriting; the host is not changed."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from kubeling.kubelet.sandbox import (
    Bubblewrap,
    KernelNamespaces,
    Mount,
    PathRewriter,
    ProcessSpec,
    choose_sandbox,
    rewrite_paths,
)
from kubeling.kubelet.security_context import ContainerSecurity

BWRAP = shutil.which("bwrap")
Make = Callable[..., Bubblewrap]
WI = "/var/run/secrets/azure/wi/token"


def mount(source: Path | str, target: str, *, read_only: bool = True) -> Mount:
    return Mount(source=Path(source), target=target, read_only=read_only)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        (f"{WI}/azure-identity-token", "/host/t/azure-identity-token"),
        (WI, "/host/t"),
        (f"cat {WI}/a; cat '{WI}/b'", "cat /host/t/a; cat '/host/t/b'"),
        (f"--file={WI}/a", "--file=/host/t/a"),
        (f"a:{WI}:b", "a:/host/t:b"),
        (f"{WI}s", f"{WI}s"),
        (f"/x{WI}", f"/x{WI}"),
        (f"https://host{WI}/a", f"https://host{WI}/a"),
        (f"~{WI}", f"~{WI}"),
        ("/data/deep/x", "/host/deep/x"),
        ("/data/other", "/host/d/other"),
        ("/database", "/database"),
        ("plain", "plain"),
    ],
)
def test_only_whole_paths_are_rewritten(text: str, result: str) -> None:
    mounts = [mount("/host/t", WI), mount("/host/d", "/data"), mount("/host/deep", "/data/deep")]
    assert rewrite_paths(text, mounts) == result


def test_only_arguments_and_variables_of_the_pod_are_rewritten(
    tmp_path: Path,
) -> None:
    spec = ProcessSpec(
        argv=["cat", "/data/a"],
        env={"FILE": "/data/a", "BOTH": "pod"},
        cwd=tmp_path,
        default_env={"CA": "/data/ca.pem", "BOTH": "default"},
    )
    made = PathRewriter().wrap(spec, [mount(tmp_path, "/data")], "/data")
    assert made.argv == ["cat", f"{tmp_path}/a"]
    assert made.env == {"FILE": f"{tmp_path}/a", "CA": "/data/ca.pem", "BOTH": "pod"}
    assert made.cwd == tmp_path


async def test_paths_are_rewritten_without_bubblewrap_and_namespaces(tmp_path: Path) -> None:
    assert (await choose_sandbox(str(tmp_path), kinds=["bubblewrap"])).name == "rewrite"


def test_kernel_namespaces_are_preferred_to_rewritten_paths(tmp_path: Path) -> None:
    """Fails if mounts need bubblewrap: most images of Linux come without it."""
    own = KernelNamespaces()
    works = subprocess.run([*own.command, "--dev-bind", "/", "/", "--", "true"], check=False)
    expected = "namespaces" if works.returncode == 0 else "rewrite"
    assert asyncio.run(choose_sandbox(str(tmp_path))).name == expected


async def test_failing_bubblewrap_is_not_used(tmp_path: Path) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    assert (await choose_sandbox(str(tmp_path), kinds=["bubblewrap"])).name == "rewrite"


@pytest.fixture(params=["bubblewrap", "namespaces"])
async def make(request: pytest.FixtureRequest) -> Make:
    """Return the constructor of a sandbox with mounts; both kinds must behave the same."""
    found = await choose_sandbox(os.defpath, kinds=[request.param])
    if found.name != request.param:
        pytest.skip(f"a sandbox by {request.param} does not work here")
    return (
        KernelNamespaces
        if isinstance(found, KernelNamespaces)
        else partial(Bubblewrap, BWRAP or "")
    )


def run(
    make: Make, mounts: list[Mount], script: str, cwd: Path, workdir: str = "", **env: str
) -> str:
    spec = ProcessSpec(
        argv=["/bin/sh", "-c", script], env=env, cwd=cwd, default_env={"HOME": str(cwd)}
    )
    made = make().wrap(spec, mounts, workdir)
    done = subprocess.run(
        made.argv, env=dict(made.env), cwd=made.cwd, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def entries(path: str) -> set[str]:
    return {entry.name for entry in os.scandir(path)}


def test_missing_mount_points_are_not_created_on_the_host(make: Make, tmp_path: Path) -> None:
    """Fails if mount points are created on the host."""
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "a").write_text("content")
    targets = [WI, "/no-such-folder/deep", "/etc/no-such/x", "/usr/no-such"]
    before = {path: entries(path) for path in ("/", "/run", "/etc", "/usr")}
    mounts = [mount(tmp_path / "v", target) for target in targets]
    script = "; ".join(f"cat {target}/a" for target in targets) + "; ls /etc/passwd /usr/bin/env"
    shown = run(make, mounts, script, tmp_path)
    assert shown == "content" * 4 + "/etc/passwd\n/usr/bin/env\n"
    assert {path: entries(path) for path in before} == before


def test_shared_mount_is_in_every_container_unless_the_pod_mounts_there(
    make: Make, tmp_path: Path
) -> None:
    for name in ("shared", "own"):
        (tmp_path / name).write_text(name)
    box = make(shared=[mount(tmp_path / "shared", "/etc/hosts")])
    spec = ProcessSpec(argv=["/bin/cat", "/etc/hosts"], env={}, cwd=tmp_path)

    def read(*mounts: Mount) -> str:
        made = box.wrap(spec, mounts, "")
        return subprocess.run(made.argv, capture_output=True, text=True, check=True).stdout

    assert read() == "shared"
    assert read(mount(tmp_path / "own", "/etc/hosts")) == "own"


def test_existing_paths_and_single_files_can_be_mounted_over(make: Make, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "a").write_text("mine")
    mounts = [
        mount(tmp_path / "v", "/srv"),
        mount(tmp_path / "v" / "a", "/etc/hostname"),
        mount(tmp_path / "v" / "a", "/etc/no-such-file.conf"),
        mount(tmp_path / "v" / "a", "/dev/termination-log", read_only=False),
    ]
    script = "cat /srv/a /etc/hostname /etc/no-such-file.conf; echo end > /dev/termination-log"
    assert run(make, mounts, script + "; echo > /dev/null", tmp_path) == "mine" * 3
    assert (tmp_path / "v" / "a").read_text() == "end\n"


def test_read_only_mounts_cannot_be_written(make: Make, tmp_path: Path) -> None:
    for name in ("ro", "rw"):
        (tmp_path / name).mkdir()
    mounts = [
        mount(tmp_path / "ro", "/pod/ro"),
        mount(tmp_path / "rw", "/pod/rw", read_only=False),
    ]
    shown = run(make, mounts, "echo x > /pod/rw/f; echo x > /pod/ro/f", tmp_path)
    assert "Read-only file system" in shown
    assert (tmp_path / "rw" / "f").exists()
    assert not (tmp_path / "ro" / "f").exists()


def test_mount_may_be_inside_a_read_only_mount(make: Make, tmp_path: Path) -> None:
    for name in ("outer", "inner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
    mounts = [mount(tmp_path / "inner", "/pod/a/in"), mount(tmp_path / "outer", "/pod/a")]
    assert run(make, mounts, "cat /pod/a/f /pod/a/in/f", tmp_path) == "outerinner"


def test_files_of_default_variables_stay_visible_under_a_mount(make: Make, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "ca.pem").write_text("ca content")
    spec = ProcessSpec(
        argv=["/bin/sh", "-c", f"cat $CA; ls {tmp_path.parent}"],
        env={},
        cwd=tmp_path,
        default_env={"CA": str(tmp_path / "ca.pem")},
    )
    made = make().wrap(spec, [mount(tmp_path / "v", str(tmp_path.parent))], "")
    done = subprocess.run(made.argv, env=dict(made.env), capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ca content")


def test_missing_working_folder_is_created_in_the_pod(make: Make, tmp_path: Path) -> None:
    shown = run(make, [], "pwd; echo x > made", tmp_path, workdir="/no-such-app/dir")
    assert shown == "/no-such-app/dir\n"
    assert (tmp_path / "made").exists()
    assert not Path("/no-such-app").exists()


@pytest.mark.parametrize("cover", [False, True])
def test_pod_reads_only_its_own_part_of_the_hidden_folder(
    make: Make, tmp_path: Path, *, cover: bool
) -> None:
    """Fails if a pod can read the keys of the instance, or the token of another pod, by the real path."""
    data = tmp_path / "data dir"
    secrets = ["tls/admin.key", "ca/ca.key", "instance.json", "kubeconfig", "pods/b/token"]
    for name in (*secrets, "ca/ca.pem", "pods/a/v/token", "pods/a/home/mine", "pods/a/tmp/mine"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(f"<{name}>")
    own = data / "pods" / "a"
    mounts = [mount(own / "v", WI)]
    if cover:  # a missing mount point next to the folder requires a cover with the folder's entries
        mounts.append(mount(own / "v", str(tmp_path / "missing")))
    script = (
        f"cd '{data}'; cat ca/ca.pem {WI}/token pods/a/*/mine;"
        " cat tls/admin.key ca/ca.key instance.json kubeconfig pods/b/token pods/a/v/token;"
        " find . -type f; echo x >> pods/a/home/mine; echo x >> ca/ca.pem"
    )
    spec = ProcessSpec(
        argv=["/bin/sh", "-c", script],
        env={},
        cwd=own / "home",
        default_env={"HOME": str(own / "home"), "TMPDIR": str(own / "tmp")},
    )
    made = make(hidden=data, shown=[data / "ca" / "ca.pem"]).wrap(spec, mounts, "")
    done = subprocess.run(
        made.argv, env=dict(made.env), capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("<ca/ca.pem><pods/a/v/token><pods/a/home/mine><pods/a/tmp/mine>")
    seen = set(done.stdout.split(">")[-1].split())
    assert seen == {"./ca/ca.pem", "./pods/a/home/mine", "./pods/a/tmp/mine"}
    assert (data / "ca" / "ca.pem").read_text() == "<ca/ca.pem>"


def test_root_in_a_pod_cannot_unmount_the_cover_of_the_hidden_folder(tmp_path: Path) -> None:
    """Fails if the program keeps the capability to unmount: root in a pod would read the instance's keys."""
    if asyncio.run(choose_sandbox(os.defpath, kinds=["namespaces"])).name != "namespaces":
        pytest.skip("a sandbox by namespaces does not work here")
    (tmp_path / "key").write_text("secret")
    script = f"umount '{tmp_path}' 2>/dev/null; cat '{tmp_path}/key' 2>/dev/null; echo end"
    spec = ProcessSpec(argv=["/bin/sh", "-c", script], env={}, cwd=Path("/"))
    made = KernelNamespaces(hidden=tmp_path).wrap(spec, [], "/")
    done = subprocess.run(
        made.argv, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "end\n"


@pytest.mark.parametrize("kind", ["bubblewrap", "namespaces"])
def test_variables_of_the_loader_reach_the_program_and_not_the_sandbox(kind: str) -> None:
    """Fails if they stay: a library of the pod would run where the whole machine is visible."""
    sandbox = asyncio.run(choose_sandbox(os.environ["PATH"], kinds=[kind]))
    if sandbox.name != kind:
        pytest.skip(f"a sandbox by {kind} does not work here")
    env = {"LD_LIBRARY_PATH": "/nowhere", "GLIBC_TUNABLES": "", "A": "b"}
    script = "echo $LD_LIBRARY_PATH ${GLIBC_TUNABLES-none} $A"
    made = sandbox.wrap(
        ProcessSpec(argv=["/bin/sh", "-c", script], env=env, cwd=Path("/")), [], "/"
    )
    assert dict(made.env) == {"A": "b"}
    done = subprocess.run(made.argv, env=dict(made.env), capture_output=True, text=True, check=True)
    assert done.stdout == "/nowhere b\n"


def test_program_that_cannot_be_isolated_is_not_started(tmp_path: Path) -> None:
    """Fails if an error of a mount is ignored: the program would run without its mounts."""
    command = [*KernelNamespaces().command, "--dev-bind", "/", "/", "--bind", "/no-such", "/srv"]
    done = subprocess.run(
        [*command, "--", "/bin/sh", "-c", f"touch {tmp_path}/ran"], capture_output=True, check=False
    )
    assert done.returncode == 126
    assert b"cannot start the container" in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(BWRAP is None, reason="bubblewrap is not installed")
def test_home_of_a_container_with_a_read_only_root_cannot_be_written(tmp_path: Path) -> None:
    assert BWRAP
    home = tmp_path / "home"
    home.mkdir()
    for read_only in (False, True):
        spec = ProcessSpec(
            argv=["/bin/sh", "-c", "cd $HOME && echo x > file"],
            env={},
            cwd=home,
            default_env={"HOME": str(home)},
            security=ContainerSecurity(read_only_root=read_only),
        )
        made = Bubblewrap(BWRAP, hidden=tmp_path).wrap(spec, [], "")
        done = subprocess.run(
            made.argv, env=dict(made.env), cwd=made.cwd, capture_output=True, check=False
        )
        assert (done.returncode != 0) is read_only
