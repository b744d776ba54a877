"""`python -m podpass.tools.cli`, for places where no script is installed."""

from podpass.tools.cli import main

main()
