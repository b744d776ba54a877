"""Numbers, each as a ratio to a peer or a physical limit measured in the same run: `make bench`."""

import sys
from pathlib import Path

# What starts a real `podpass authority`, its issuer or a PostgreSQL is the tests'.
sys.path.append(str(Path(__file__).parents[1] / "tests"))
