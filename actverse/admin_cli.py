"""The commands of ``actverse keys`` and ``actverse notify``: who comes in, who hears of what."""

import click

from actverse.options import as_json, at_gateway


@click.group()
def keys() -> None:
    """API keys of the gateway's users."""


@keys.command("create")
@click.argument("user")
@click.option("--role", type=click.Choice(["user", "admin"]), help="[default: user]")
@click.option("--label", default="", help="What it is for.")
@click.option(
    "--bootstrap",
    is_flag=True,
    help="The first administrator's, made in the database itself: where the gateway runs.",
)
@click.option("--again", is_flag=True, help="With --bootstrap: even if there is one already.")
@as_json
@at_gateway
def create_key(
    gateway: str | None,
    key: str | None,
    user: str,
    role: str | None,
    label: str,
    bootstrap: bool,
    again: bool,
    as_json: bool,
) -> None:
    """Make a key for USER, and print it: it is shown this once only."""
    from actverse import admin_commands

    if again and not bootstrap:
        raise click.UsageError("--again goes with --bootstrap only.")
    if bootstrap:
        if role == "user" or label or as_json:
            raise click.UsageError("--bootstrap makes a plain administrator's key.")
        admin_commands.bootstrap(user, again=again)
        return
    admin_commands.create_key(gateway, key, user, role or "user", label, as_json=as_json)


@keys.command("show")
@click.argument(
    "what", type=click.Choice(["api", "mlflow", "label-studio"]), default="api", required=False
)
def show_key(what: str) -> None:
    """Print a secret of the stack that runs here: by default its administrator's API key.

    mlflow is the password of the user actverse there, label-studio that of its login.
    """
    from actverse import admin_commands

    admin_commands.show_secret(what)


@keys.command("list")
@as_json
@at_gateway
def list_keys(gateway: str | None, key: str | None, as_json: bool) -> None:
    """List your keys; an administrator's: everybody's."""
    from actverse import admin_commands

    admin_commands.list_keys(gateway, key, as_json=as_json)


@keys.command("revoke")
@click.argument("key_id", metavar="ID", type=int)
@as_json
@at_gateway
def revoke_key(gateway: str | None, key: str | None, key_id: int, as_json: bool) -> None:
    """End a key."""
    from actverse import admin_commands

    admin_commands.revoke_key(gateway, key, key_id, as_json=as_json)


@click.group()
def notify() -> None:
    """Who hears of which events, and where."""


@notify.command("add")
@click.argument("url")
@click.option("--event", multiple=True, help="Such as RESULTS_UPLOADED; repeatable; else all.")
@as_json
@at_gateway
def add_rule(
    gateway: str | None, key: str | None, url: str, event: tuple[str, ...], as_json: bool
) -> None:
    """Hear of events at URL, as Apprise knows it; - reads it from stdin."""
    from actverse import admin_commands

    admin_commands.add_rule(gateway, key, url, event, as_json=as_json)


@notify.command("list")
@as_json
@at_gateway
def list_rules(gateway: str | None, key: str | None, as_json: bool) -> None:
    """List your rules; an administrator's: everybody's."""
    from actverse import admin_commands

    admin_commands.list_rules(gateway, key, as_json=as_json)


@notify.command("remove")
@click.argument("rule_id", metavar="ID", type=int)
@as_json
@at_gateway
def remove_rule(gateway: str | None, key: str | None, rule_id: int, as_json: bool) -> None:
    """Hear no more by a rule."""
    from actverse import admin_commands

    admin_commands.remove_rule(gateway, key, rule_id, as_json=as_json)


@notify.command("test")
@click.argument("rule_id", metavar="ID", type=int)
@as_json
@at_gateway
def test_rule(gateway: str | None, key: str | None, rule_id: int, as_json: bool) -> None:
    """Send a test message by a rule."""
    from actverse import admin_commands

    admin_commands.try_rule(gateway, key, rule_id, as_json=as_json)
