"""The paths of a pod, by mounts or by rewriting; the host is not changed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from podpass.kubernetes.kubelet.sandbox import (
    Bubblewrap,
    Mount,
    PathRewriter,
    ProcessSpec,
    choose_sandbox,
    rewrite_paths,
)

BWRAP = shutil.which("bwrap")
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


async def test_paths_are_rewritten_without_bubblewrap(tmp_path: Path) -> None:
    assert (await choose_sandbox(str(tmp_path))).name == "rewrite"


async def test_failing_bubblewrap_is_not_used(tmp_path: Path) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    assert (await choose_sandbox(str(tmp_path))).name == "rewrite"


def run(mounts: list[Mount], script: str, cwd: Path, workdir: str = "", **env: str) -> str:
    assert BWRAP
    spec = ProcessSpec(
        argv=["/bin/sh", "-c", script], env=env, cwd=cwd, default_env={"HOME": str(cwd)}
    )
    made = Bubblewrap(BWRAP).wrap(spec, mounts, workdir)
    done = subprocess.run(
        made.argv, env=dict(made.env), cwd=made.cwd, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def entries(path: str) -> set[str]:
    return {entry.name for entry in os.scandir(path)}


needs_bubblewrap = pytest.mark.skipif(BWRAP is None, reason="bubblewrap is not installed")


@needs_bubblewrap
def test_missing_mount_points_are_not_created_on_the_host(tmp_path: Path) -> None:
    """Fails if mount points are created on the host."""
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "a").write_text("content")
    targets = [WI, "/no-such-folder/deep", "/etc/no-such/x", "/usr/no-such"]
    before = {path: entries(path) for path in ("/", "/run", "/etc", "/usr")}
    mounts = [mount(tmp_path / "v", target) for target in targets]
    script = "; ".join(f"cat {target}/a" for target in targets) + "; ls /etc/passwd /usr/bin/env"
    shown = run(mounts, script, tmp_path)
    assert shown == "content" * 4 + "/etc/passwd\n/usr/bin/env\n"
    assert {path: entries(path) for path in before} == before


@needs_bubblewrap
def test_shared_mount_is_in_every_container_unless_the_pod_mounts_there(tmp_path: Path) -> None:
    for name in ("shared", "own"):
        (tmp_path / name).write_text(name)
    box = Bubblewrap(BWRAP or "", shared=[mount(tmp_path / "shared", "/etc/hosts")])
    spec = ProcessSpec(argv=["/bin/cat", "/etc/hosts"], env={}, cwd=tmp_path)

    def read(*mounts: Mount) -> str:
        made = box.wrap(spec, mounts, "")
        return subprocess.run(made.argv, capture_output=True, text=True, check=True).stdout

    assert read() == "shared"
    assert read(mount(tmp_path / "own", "/etc/hosts")) == "own"


@needs_bubblewrap
def test_existing_paths_and_single_files_can_be_mounted_over(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "a").write_text("mine")
    mounts = [
        mount(tmp_path / "v", "/srv"),
        mount(tmp_path / "v" / "a", "/etc/hostname"),
        mount(tmp_path / "v" / "a", "/etc/no-such-file.conf"),
        mount(tmp_path / "v" / "a", "/dev/termination-log", read_only=False),
    ]
    script = "cat /srv/a /etc/hostname /etc/no-such-file.conf; echo end > /dev/termination-log"
    assert run(mounts, script + "; echo > /dev/null", tmp_path) == "mine" * 3
    assert (tmp_path / "v" / "a").read_text() == "end\n"


@needs_bubblewrap
def test_read_only_mounts_cannot_be_written(tmp_path: Path) -> None:
    for name in ("ro", "rw"):
        (tmp_path / name).mkdir()
    mounts = [
        mount(tmp_path / "ro", "/pod/ro"),
        mount(tmp_path / "rw", "/pod/rw", read_only=False),
    ]
    shown = run(mounts, "echo x > /pod/rw/f; echo x > /pod/ro/f", tmp_path)
    assert "Read-only file system" in shown
    assert (tmp_path / "rw" / "f").exists()
    assert not (tmp_path / "ro" / "f").exists()


@needs_bubblewrap
def test_mount_may_be_inside_a_read_only_mount(tmp_path: Path) -> None:
    for name in ("outer", "inner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
    mounts = [mount(tmp_path / "inner", "/pod/a/in"), mount(tmp_path / "outer", "/pod/a")]
    assert run(mounts, "cat /pod/a/f /pod/a/in/f", tmp_path) == "outerinner"


@needs_bubblewrap
def test_files_of_default_variables_stay_visible_under_a_mount(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "ca.pem").write_text("ca content")
    spec = ProcessSpec(
        argv=["/bin/sh", "-c", f"cat $CA; ls {tmp_path.parent}"],
        env={},
        cwd=tmp_path,
        default_env={"CA": str(tmp_path / "ca.pem")},
    )
    assert BWRAP
    made = Bubblewrap(BWRAP).wrap(spec, [mount(tmp_path / "v", str(tmp_path.parent))], "")
    done = subprocess.run(made.argv, env=dict(made.env), capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ca content")


@needs_bubblewrap
def test_missing_working_folder_is_created_in_the_pod(tmp_path: Path) -> None:
    shown = run([], "pwd; echo x > made", tmp_path, workdir="/no-such-app/dir")
    assert shown == "/no-such-app/dir\n"
    assert (tmp_path / "made").exists()
    assert not Path("/no-such-app").exists()


@needs_bubblewrap
@pytest.mark.parametrize("cover", [False, True])
def test_pod_reads_only_its_own_part_of_the_hidden_folder(tmp_path: Path, *, cover: bool) -> None:
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
    assert BWRAP
    made = Bubblewrap(BWRAP, hidden=data, shown=[data / "ca" / "ca.pem"]).wrap(spec, mounts, "")
    done = subprocess.run(
        made.argv, env=dict(made.env), capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("<ca/ca.pem><pods/a/v/token><pods/a/home/mine><pods/a/tmp/mine>")
    seen = set(done.stdout.split(">")[-1].split())
    assert seen == {"./ca/ca.pem", "./pods/a/home/mine", "./pods/a/tmp/mine"}
    assert (data / "ca" / "ca.pem").read_text() == "<ca/ca.pem>"
