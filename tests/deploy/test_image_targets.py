"""The images of one process: only what its command imports, the programs that containers start, and users."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import podpass
from tests.deploy.image_root import ROOT, SHELLS, USER, run_in_image
from tests.ports import free_port
from tests.run_program import run_text

pytestmark = [
    pytest.mark.processes,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("ldd") is None, reason="assembling an image needs `ldd`"),
]


@pytest.mark.parametrize(
    ("target", "user", "entry_point"),
    [
        ("webhook", USER, ["podpass", "webhook"]),
        ("authority", USER, ["podpass", "authority"]),
        ("proxy", 1501, ["/proxy"]),
        ("proxy-init", 0, ["podpass", "proxy-init"]),
    ],
)
def test_dockerfile_has_the_image_of_each_process(
    target: str, user: int, entry_point: list[str]
) -> None:
    """The reference's names; the redirection exempts user 1501, and only the init container is root."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import json, image, image_targets\n"
        "found = image_targets.TARGETS[sys.argv[2]]\n"
        "labels = image.labels(sys.argv[3], found)\n"
        "print(json.dumps([found.user, found.entry_point, found.command, labels]))"
    )
    done = run_text(
        [sys.executable, "-c", program, str(ROOT / "scripts"), target, podpass.__version__],
        check=True,
    )
    assert json.loads(done.stdout)[:3] == [user, entry_point, []]
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    stage = re.split(rf"FROM scratch AS {target}\n", text)[1].partition("FROM ")[0]
    said = dict(re.findall(r'(org\.opencontainers\.\S+)="([^"]*)"', stage))
    assert said == json.loads(done.stdout)[3]
    assert f"USER {user}:{user}\n" in stage
    assert f"ENTRYPOINT {json.dumps(entry_point)}\n" in stage
    assert "RUN" not in stage
    if target != "authority":
        assert f"COPY --from=build-{target} /image /\n" in stage
        assert f"/src/scripts/image.py target {target} /image\n" in text
    else:
        assert "COPY --from=build /image /\n" in stage


_SERVER = {"click", "h11", "httptools", "orjson", "podpass", "uvicorn", "uvloop"}
# It imports all modules in the image, and all modules that these import anywhere, also in functions.
_IMPORT_ALL = """
import ast, importlib, pathlib, pkgutil, podpass
found = ["podpass", *(one.name for one in pkgutil.walk_packages(podpass.__path__, "podpass."))]
for name in found:
    importlib.import_module(name)
def visit(node):
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        names.update(each.name for each in node.names)
    if isinstance(node, ast.ImportFrom):
        names.add(node.module)
    for child in ast.iter_child_nodes(node):
        visit(child)
names = set()
for path in pathlib.Path(podpass.__path__[0]).rglob("*.py"):
    visit(ast.parse(path.read_text()))
for name in names:
    importlib.import_module(name)
print(len(found), len(names))
"""


@pytest.mark.parametrize(
    ("target", "distributions"),
    [
        ("proxy", _SERVER | {"prometheus-client"}),
        ("proxy-init", {"click", "orjson", "podpass"}),
        (
            "webhook",
            {
                *(_SERVER | {"aiohttp", "cryptography", "pyyaml", "aiohappyeyeballs", "aiosignal"}),
                *("attrs", "cffi", "frozenlist", "idna", "multidict", "propcache", "pycparser"),
                *("typing-extensions", "yarl"),
            },
        ),
    ],
)
def test_image_of_one_process_has_only_the_packages_that_it_imports(
    target: str, distributions: set[str], target_root: Callable[[str], Path]
) -> None:
    if target == "proxy-init" and not shutil.which("iptables", path="/usr/sbin:/sbin"):
        pytest.skip("the image needs an installed iptables")
    made = target_root(target)
    sbom = json.loads((made / "usr/share/sbom/podpass.cdx.json").read_text())
    listed = {part["name"] for part in (sbom["metadata"]["component"], *sbom["components"])}
    # Not every version of Python needs typing-extensions.
    assert listed - {"python", "typing-extensions"} == distributions - {"typing-extensions"}
    done = run_in_image(made, "python", "-Ic", _IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    modules, imported = map(int, done.stdout.split())
    assert modules > 30
    assert imported > modules
    assert not [*made.glob("usr/local/lib/python*/*-packages/podpass/exchange")]
    assert _size(made) * 2 < _size(target_root("authority"))


def _size(root: Path) -> int:
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file())


# It starts the sidecar in the image as its container does, and waits until it is ready.
_START_PROXY = """
import os, subprocess, sys
port = f"--proxy-port={sys.argv[1]}"
variables = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_FEDERATED_TOKEN_FILE": "/token",
             "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/"}
process = subprocess.Popen(["/proxy", port], env=os.environ | variables)
try:
    print(subprocess.run(["/proxy", "--probe", port], env=os.environ | variables).returncode)
finally:
    process.terminate()
    print(process.wait())
"""


def test_sidecar_starts_and_stops_in_its_image(target_root: Callable[[str], Path]) -> None:
    made = target_root("proxy")
    done = run_in_image(made, "python", "-Ic", _START_PROXY, str(free_port()))
    assert done.stdout.split() == ["0", "0"], done.stderr


def test_proxy_image_has_the_program_that_injected_containers_start(
    target_root: Callable[[str], Path],
) -> None:
    made = target_root("proxy")
    done = run_in_image(made, "/proxy", "--proxy-port=8000", "--log-level=")
    assert done.returncode == 2
    assert "AZURE_TENANT_ID not set" in done.stderr
    assert '"buildVersion":' in run_in_image(made, "/proxy", "--version").stdout


def test_proxy_init_image_redirects_in_a_network_namespace(
    target_root: Callable[[str], Path],
) -> None:
    if os.geteuid() != 0 or not shutil.which("iptables", path="/usr/sbin:/sbin"):
        pytest.skip("the rules need root, and the image needs an installed iptables")
    made = target_root("proxy-init")
    assert not SHELLS & {path.name for path in made.rglob("*")}
    # In a pod, the loopback interface is up.
    script = (
        "ip link set lo up && "
        'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && mount --bind /proc "$0/proc" && '
        "exec setpriv --bounding-set=-all,+net_admin,+net_raw,+sys_chroot "
        "env -i PATH=/usr/local/bin KUBERNETES_SERVICE_HOST=10.0.0.1 "
        '"$1" "$0" podpass proxy-init'
    )
    chroot = shutil.which("chroot") or "/usr/sbin/chroot"
    command = ["unshare", "--mount", "--net", "bash", "-c", script, str(made), chroot]
    done = run_text(command)
    assert done.returncode == 0, done.stderr
    assert "-A AZWI_PROXY_REDIRECT -p tcp -j REDIRECT --to-ports 8000" in done.stdout


def test_unknown_target_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "image.py"), "target", "prxy", str(tmp_path)]
    done = run_text(command)
    assert done.returncode == 1
    assert "there is no target prxy; there are webhook, authority, proxy" in done.stderr
