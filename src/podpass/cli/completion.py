"""`podpass completion`."""

import click
from click.shell_completion import get_completion_class

_SHELLS = ("bash", "zsh", "fish")


@click.command
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a completion script for your shell.

    \b
    bash   eval "$(podpass completion bash)"        in ~/.bashrc
    zsh    eval "$(podpass completion zsh)"         in ~/.zshrc
    fish   podpass completion fish | source         in ~/.config/fish/config.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(ctx.find_root().command, {}, "podpass", "_PODPASS_COMPLETE").source()
    click.echo(script)
