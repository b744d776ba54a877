"""`kubeling` and `python -m kubeling`."""

import sys


def main() -> None:
    """Run the command."""
    try:
        from kubeling import cli
    except KeyboardInterrupt:  # during the import: no command has started yet
        print("kubeling: interrupted", file=sys.stderr)  # noqa: T201 the error of a command
        sys.exit(130)
    cli.main()


if __name__ == "__main__":
    main()
