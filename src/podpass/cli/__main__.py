"""Entry point of `python -m podpass.cli`, for installations without the `podpass` script."""

from podpass.cli import main

main()
