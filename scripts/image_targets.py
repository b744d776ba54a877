"""The images of the cluster's processes: one root file system, a start command and a user for each.

The sidecar's images are drop-in replacements of the reference's: the injected containers start the program
`/proxy`, and the redirection exempts the sidecar's user by its number.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from image_root import PREFIX, USER, VERSION, CannotAssemble, copy_file, copy_libraries

PROXY_USER = 1501
# The extensions of iptables that the rules of the redirection need.
_EXTENSIONS = ("standard", "tcp", "owner", "REDIRECT", "NAT", "DNAT")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTarget:
    """The description, command and user of an image; `entry_point` is empty if it has all commands.

    `module` is the only command of podpass that the image can run, None for all.
    """

    description: str
    module: str | None = None
    entry_point: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: int = USER


ALL = ImageTarget(
    description="Microsoft Entra Workload ID, the whole loop: webhook and token service",
    command=("podpass", "--help"),
)
TARGETS = {
    "webhook": ImageTarget(
        module="podpass.cli.webhook",
        description="Microsoft Entra Workload ID: admission webhook",
        entry_point=("podpass", "webhook"),
    ),
    "authority": ImageTarget(
        description="Microsoft Entra Workload ID: token service for clusters without Entra",
        entry_point=("podpass", "authority"),
    ),
    "proxy": ImageTarget(
        module="podpass.cli.proxy",
        description="Microsoft Entra Workload ID: migration sidecar",
        entry_point=("/proxy",),
        user=PROXY_USER,
    ),
    "proxy-init": ImageTarget(
        module="podpass.cli.proxy_init",
        description="Microsoft Entra Workload ID: redirection to the migration sidecar",
        entry_point=("podpass", "proxy-init"),
        user=0,
    ),
}


def find_target(name: str) -> ImageTarget:
    """Return a target by name. Raises CannotAssemble."""
    if name not in TARGETS:
        raise CannotAssemble(f"there is no target {name}; there are {', '.join(TARGETS)}")
    return TARGETS[name]


def add_programs(root: Path, target: ImageTarget) -> None:
    """Add to an assembled root file system the programs of the sidecar's images. Raises CannotAssemble."""
    if target is TARGETS["proxy"]:
        launcher = root / "proxy"
        launcher.write_text(
            f"#!/{PREFIX}/bin/python{VERSION} -I\nimport sys\n\nfrom podpass.cli import main\n\n"
            'main(["proxy", *sys.argv[1:]])\n'
        )
        launcher.chmod(0o755)
    if target is TARGETS["proxy-init"]:
        _add_iptables(root)


def _add_iptables(root: Path) -> None:
    """Copy iptables with the extensions of the redirection; its links select the command by their names."""
    program = shutil.which("iptables", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        raise CannotAssemble("iptables is not installed here: install the package iptables")
    binary = Path(program).resolve()
    copy_file(binary, root / PREFIX / "bin" / binary.name)
    (root / PREFIX / "bin" / "iptables").symlink_to(binary.name)
    version = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=False
    ).stdout
    folders = sorted(Path("/usr/lib").glob("*/xtables")) or sorted(Path("/usr/lib").glob("xtables"))
    if not folders:
        raise CannotAssemble(f"the extensions of {version.strip()} are not below /usr/lib")
    wanted = {f"lib{kind}_{name}.so" for kind in ("xt", "ipt") for name in _EXTENSIONS}
    for path in sorted(folders[0].iterdir()):
        if path.name in wanted:
            copy_file(path.resolve(), root / path.relative_to("/"))
    copy_libraries(root)
