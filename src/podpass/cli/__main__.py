"""`python -m podpass.cli`, for places where no script is installed."""

from podpass.cli import main

main()
