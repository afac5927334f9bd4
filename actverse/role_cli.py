"""Commands of the processes themselves, as containers start and probe them."""

import click

_ROLES = ("gateway", "worker", "beat", "watcher")


@click.command()
@click.argument("role", type=click.Choice(_ROLES))
@click.option("--queue", multiple=True, help="A worker's; repeatable.  [default: all]")
@click.option("--slots", type=click.IntRange(1), help="What a worker does side by side.")
def serve(role: str, queue: tuple[str, ...], slots: int | None) -> None:
    """Be one process of an installation; a container's command."""
    from actverse.roles import Role
    from actverse.roles import serve as become

    become(Role(role), queue, slots)


@click.command()
@click.argument("role", type=click.Choice(_ROLES), required=False)
def health(role: str | None) -> None:
    """Say whether the process of this container lives; for probes."""
    from actverse.roles import Role, check_health

    check_health(Role(role) if role else None)


@click.command()
def prepare() -> None:
    """Upgrade an installation's database and register the registry's webhook."""
    from actverse.roles import prepare as run

    run(click.echo)
