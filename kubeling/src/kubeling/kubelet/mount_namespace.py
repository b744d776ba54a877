"""A program that runs another one with its own view of the files, for machines without bubblewrap.

It takes the options of bubblewrap that `sandbox` uses, and needs a kernel that permits mount namespaces, to
root or to every user in a user namespace. It imports only the standard library: each container starts
with it.
"""

import contextlib
import ctypes
import os
import stat
import sys
from collections.abc import Iterator, Sequence

_NEWNS, _NEWUTS, _NEWUSER = 0x00020000, 0x04000000, 0x10000000
_RDONLY, _REMOUNT, _BIND, _REC, _SLAVE = 0x1, 0x20, 0x1000, 0x4000, 0x80000
_DETACH = 2
_NO_NEW_PRIVS, _DROP_FROM_BOUNDING_SET, _SYS_ADMIN = 38, 24, 21
# Flags of a mount that a read-only remount must keep: those of `statvfs`, and those of `mount`.
_KEPT = ((2, 2), (4, 4), (8, 8), (1024, 1024), (2048, 2048), (4096, 1 << 21))
_ARGUMENTS = {
    **dict.fromkeys(("--dev-bind", "--dev-bind-try", "--bind", "--ro-bind"), 2),
    **dict.fromkeys(("--symlink", "--setenv"), 2),
    **dict.fromkeys(("--tmpfs", "--chdir", "--hostname"), 1),
    **dict.fromkeys(("--unshare-uts", "--die-with-parent", "--new-session"), 0),
}
# Every system has it. The first root is built there, and nothing of it remains visible.
_BASE = "/tmp"  # noqa: S108
_OLD, _NEW = "/old", "/new"


def main(arguments: Sequence[str]) -> None:
    """Mount the container's paths, then replace this process with the program after `--`."""
    end = arguments.index("--")
    options, argv = list(_parse(arguments[:end])), arguments[end + 1 :]
    libc = ctypes.CDLL(None, use_errno=True)
    has_name = ["--unshare-uts"] in options
    _enter_namespaces(libc, _NEWNS | (_NEWUTS if has_name else 0))
    _mount(libc, None, "/", _SLAVE | _REC)
    _mount(libc, "tmpfs", _BASE, 0, "tmpfs")
    for name in (_OLD, _NEW):
        os.mkdir(_BASE + name)  # noqa: PTH102 pathlib would double the time to start
    _mount(libc, _BASE + _NEW, _BASE + _NEW, _BIND | _REC)
    _check(libc.pivot_root(_BASE.encode(), (_BASE + _OLD).encode()), "pivot_root")
    os.chdir("/")
    folder = "/"
    for option, *values in options:
        if option == "--chdir":
            folder = values[0]
        elif option == "--hostname":
            host_name = values[0].encode()
            _check(libc.sethostname(host_name, len(host_name)), "sethostname")
        elif option == "--setenv":
            os.environ[values[0]] = values[1]  # noqa: TID251 of the program that replaces this one
        elif values:
            _apply(libc, option, values)
    _check(libc.umount2(_OLD.encode(), _DETACH), "umount")
    os.chdir(_NEW)
    _check(libc.pivot_root(b".", b"."), "pivot_root")
    _check(libc.umount2(b".", _DETACH), "umount")
    os.chdir(folder)
    # Root could otherwise unmount what covers the files of the instance.
    libc.prctl(_DROP_FROM_BOUNDING_SET, _SYS_ADMIN, 0, 0, 0)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.execvp(argv[0], list(argv))  # noqa: S606 the arguments are those of the container


def _parse(arguments: Sequence[str]) -> Iterator[list[str]]:
    at = 0
    while at < len(arguments):
        end = at + 1 + _ARGUMENTS[arguments[at]]
        yield list(arguments[at:end])
        at = end


def _enter_namespaces(libc: ctypes.CDLL, kinds: int) -> None:
    """Create namespaces, in a new user namespace if this user may create no other."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0 and libc.unshare(kinds) == 0:
        return
    _check(libc.unshare(kinds | _NEWUSER), "unshare")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123
            file.write(text)


def _apply(libc: ctypes.CDLL, option: str, values: Sequence[str]) -> None:
    """Apply one option in the new root."""
    target = _NEW + values[-1]
    if option == "--tmpfs":
        os.makedirs(target, exist_ok=True)  # noqa: PTH103
        _mount(libc, "tmpfs", target, 0, "tmpfs", "mode=755")
    elif option == "--symlink":
        with contextlib.suppress(FileExistsError):
            os.symlink(values[0], target)  # noqa: PTH211
    elif option in _ARGUMENTS and _ARGUMENTS[option] == 2:
        source = _OLD + values[0]
        if option.endswith("-try") and not os.path.exists(source):  # noqa: PTH110
            return
        _create_mount_point(source, target)
        _mount(libc, source, target, _BIND | _REC)
        if option == "--ro-bind":
            kept = os.statvfs(target).f_flag
            flags = sum(theirs for ours, theirs in _KEPT if kept & ours)
            _mount(libc, None, target, _BIND | _REMOUNT | _RDONLY | flags)


def _create_mount_point(source: str, target: str) -> None:
    if os.path.exists(target):  # noqa: PTH110
        return
    if stat.S_ISDIR(os.stat(source).st_mode):  # noqa: PTH116
        os.makedirs(target, exist_ok=True)  # noqa: PTH103
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))


def _mount(  # one parameter for each of the system call
    libc: ctypes.CDLL, source: str | None, target: str, flags: int, kind: str = "", data: str = ""
) -> None:
    result = libc.mount(
        source.encode() if source else None,
        target.encode(),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    _check(result, f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as exc:
        sys.stderr.write(f"cannot start the container: {exc}\n")
        sys.exit(126)
