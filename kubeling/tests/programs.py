"""Programs that tests start."""

import shutil
import sys
from pathlib import Path

PATH = "/usr/local/bin:/usr/bin:/bin"


def kubectl_binaries() -> dict[str, str]:
    """Find the machine's kubectl and the one of the package index."""
    packaged = Path(sys.executable).parent / "kubectl"
    found = {"machine": shutil.which("kubectl", path=PATH) or ""}
    return found | {"package": str(packaged) if packaged.exists() else ""}
