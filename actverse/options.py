"""Options that commands of several groups have."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])

FORMATS = ("yolo", "coco", "deeplabcut", "label-studio", "cvat", "sleap")
STRATEGIES = ("uniform", "diverse", "motion", "uncertain", "active")


def options(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Several options as one decorator."""

    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


at_gateway = options(
    click.option("--gateway", metavar="URL", envvar="ACTVERSE_GATEWAY_URI", help="Another one's."),
    click.option(
        "--key",
        metavar="KEY",
        envvar="ACTVERSE_API_KEY",
        help="An API key; better in ACTVERSE_API_KEY, since process lists show options.",
    ),
)
as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")
follow = click.option(
    "--watch", is_flag=True, help="Follow it to its end; Ctrl-C leaves it running."
)
