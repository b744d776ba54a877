"""`python -m kubeling`."""

from kubeling.cli import main

main()
