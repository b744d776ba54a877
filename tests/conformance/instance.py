"""One instance of podpass for the specs: it starts empty, with a program for each image of the specs.

No image is pulled. Bubblewrap around the whole instance shows the files of the images that specs name:
/agnhost, /agnhost-2, a certificate and a shell. Its /tmp and /root are empty at first: pods share them, and
specs rely on files that no other pod or earlier run has left there.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import trustme

from tests.lab.instance.kubectl import binaries

_CHECKOUT = Path(__file__).parents[2]
_E2E_IMAGES = "registry.k8s.io/e2e-test-images"
_HTDOCS = "/usr/local/apache2/htdocs"
# agnhost and busybox are the programs of these images, httpd serves a page, and the others only have to run.
IMAGES: Mapping[str, Sequence[str]] = {
    f"{_E2E_IMAGES}/agnhost": ("agnhost-image",),
    f"{_E2E_IMAGES}/busybox": ("sh",),
    f"{_E2E_IMAGES}/httpd": ("httpd-image",),
    f"{_E2E_IMAGES}/nautilus": ("nautilus-image",),
    f"{_E2E_IMAGES}/nginx": ("sleep", "infinity"),
    "registry.k8s.io/pause": ("sleep", "infinity"),
}
# The command of an image is its default arguments, too. A pod's own arguments replace these. agnhost reads
# its certificate in the working folder of the image; a container without workingDir has the folder `home`.
_IMAGE_SCRIPT = """#!/usr/bin/env bash
[ "${PWD##*/}" != home ] || cd /
[ $# -gt 0 ] || set -- pause
exec -a /agnhost agnhost "$@"
"""
# Specs request the page only from pods of StatefulSets. If pods share the machine's ports, the first one
# serves it. It is a file of the image, so each pod has its own.
_HTTPD_SCRIPT = f"""#!/usr/bin/env bash
[[ $HOSTNAME =~ ss2?-[0-9]+$ ]] || exec sleep infinity
mkdir -p {_HTDOCS}/$HOSTNAME/tmp
cd {_HTDOCS}/$HOSTNAME
# An earlier pod of this name may have ended while its page was in /tmp.
echo 'It works!' > index.html
exec {sys.executable} - <<'EOF'
import http.server, signal
try:
    http.server.ThreadingHTTPServer(("", 80), http.server.SimpleHTTPRequestHandler).serve_forever()
except OSError:
    signal.pause()
EOF
"""
# Specs move the page to /tmp and back, in one pod after the other.
_MV_SCRIPT = f"""#!/usr/bin/env bash
pages={_HTDOCS}/ own={_HTDOCS}/$HOSTNAME/ temporary=/tmp/
if [ -d "$own" ]; then
    set -- "${{@/#$pages/$own}}"
    set -- "${{@/#$temporary/${{own}}tmp/}}"
fi
exec /bin/mv "$@"
"""

_NAUTILUS_SCRIPT = f"""#!/usr/bin/env bash
echo '{{"image": "nautilus.jpg"}}' > data.json
exec {sys.executable} -m http.server 80
"""
# Specs send one line by TCP or UDP, and only connect with -z.
_NC_SCRIPT = f"""#!{sys.executable}
import contextlib, socket, sys
options, (host, port) = sys.argv[1:-2], sys.argv[-2:]
kind = socket.SOCK_DGRAM if "-u" in options else socket.SOCK_STREAM
family, _, _, _, address = socket.getaddrinfo(host, port, socket.AF_INET, kind)[0]
with socket.socket(family, kind) as sock, contextlib.suppress(TimeoutError):
    sock.settimeout(2)
    try:
        sock.connect(address)
    except OSError as exc:
        sys.exit(f"{{host}} {{port}}: {{exc}}")
    if "-z" not in options:
        sock.sendall(sys.stdin.buffer.read())
        sys.stdout.buffer.write(sock.recv(65536))
"""

_NSLOOKUP_SCRIPT = f"""#!{sys.executable}
import socket, sys
try:
    print(socket.gethostbyname(sys.argv[1]))
except OSError as exc:
    sys.exit(f"{{sys.argv[1]}}: {{exc}}")
"""


@contextmanager
def running(folder: Path, agnhost: Path) -> Iterator[Path]:
    """Run an instance with its data in a folder; return its kubeconfig."""
    folder.mkdir(parents=True)
    programs = _programs(folder, agnhost)
    environ = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    environ["PODPASS_DATA_DIR"] = str(folder / "data")
    command = [sys.executable, "-m", "podpass.cli"]
    with (folder / "up.log").open("wb") as log:
        subprocess.run(
            [
                *_with_files(_files(folder, agnhost), folder),
                *command,
                "up",
                "--detach",
                "--port-base",
                "0",
            ],
            env=environ,
            check=True,
            stdout=log,
            stderr=log,
        )
    try:
        for name, argv in IMAGES.items():
            subprocess.run(
                [*command, "image", "add", name, "--", *argv],
                env=environ,
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        status = subprocess.run(
            [*command, "status", "-o", "json"], env=environ, check=True, capture_output=True
        )
        yield Path(json.loads(status.stdout)["kubernetes"]["kubeconfig"])
    finally:
        subprocess.run([*command, "down"], env=environ, check=False, stdout=subprocess.DEVNULL)


def _programs(folder: Path, agnhost: Path) -> Path:
    """Create a folder for the PATH of pods, with the programs that only the images of the specs have."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    link = programs / "agnhost"
    link.unlink(missing_ok=True)
    link.symlink_to(agnhost)
    for name, text in (
        ("agnhost-image", _IMAGE_SCRIPT),
        ("httpd-image", _HTTPD_SCRIPT),
        ("mv", _MV_SCRIPT),
        ("nautilus-image", _NAUTILUS_SCRIPT),
        ("nc", _NC_SCRIPT),
        ("nslookup", _NSLOOKUP_SCRIPT),
    ):
        script = programs / name
        script.write_text(text)
        script.chmod(0o755)
    return programs


def _files(folder: Path, agnhost: Path) -> dict[str, Path]:
    """Return the files of the images: their paths there, and here."""
    issued = trustme.CA().issue_cert("localhost", "127.0.0.1")
    certificate, key = folder / "localhost.crt", folder / "localhost.key"
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    issued.private_key_pem.write_to_path(str(key))
    shell = shutil.which("bash") or "/bin/sh"
    return {
        "/agnhost": agnhost,
        "/agnhost-2": agnhost,
        "/localhost.crt": certificate,
        "/localhost.key": key,
        # Like busybox, and unlike dash, it knows `[[` and keeps variables whose names are no shell names.
        os.path.realpath("/bin/sh"): Path(shell),
    }


def _with_files(files: Mapping[str, Path], folder: Path) -> list[str]:
    """Return a command prefix that mounts these files in the root folder, with a /tmp of its own."""
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        return []
    options = [bubblewrap]
    for entry in os.scandir("/"):
        if entry.is_symlink():
            options += ["--symlink", str(Path(entry.path).readlink()), entry.path]
        else:
            options += ["--dev-bind", entry.path, entry.path]
    for name in ("tmp", "root"):
        (folder / name).mkdir()
        options += ["--bind", str(folder / name), f"/{name}"]
    options += ["--tmpfs", "/usr/local"]
    for entry in os.scandir("/usr/local"):
        options += ["--dev-bind", entry.path, entry.path]
    htdocs = folder / "htdocs"
    htdocs.mkdir()
    options += ["--bind", str(htdocs), _HTDOCS]
    # These may be in /tmp or /root, which the mounts above hide.
    for path in (_CHECKOUT, sys.base_prefix, sys.prefix, files["/agnhost"], folder):
        options += ["--bind", str(path), str(path)]
    for target, source in files.items():
        options += ["--ro-bind", str(source), target]
    return [*options, "--"]


def kubectl() -> str:
    """Return the path of kubectl, which the specs of the command line run; empty without one."""
    found = binaries()
    return found["machine"] or found["package"] or shutil.which("kubectl") or ""
