"""What the commands about API keys and notifications do."""

import sys
import time

import click

from actverse.answers import Rule
from actverse.client import Client
from actverse.private import own_home
from actverse.terminal import cell, make_console, make_table, print_json
from actverse.where import find_gateway
from actverse.words import moment, plain
from components.errors import ActverseError, Unavailable
from components.settings import Settings

_TEST_SECONDS = 20.0


def create_key(
    gateway: str | None, key: str | None, user: str, role: str, label: str, *, as_json: bool
) -> None:
    """Make a key; print its text on stdout, alone."""
    with find_gateway(gateway, key).client() as client:
        made = client.create_key(user, "admin" if role == "admin" else "user", label)
    if as_json:
        print_json(made)
        return
    click.echo(made["key"])
    make_console(stderr=True).print(
        f"Key {made['id']} of {plain(user)}, {role}: it is shown this once only.", markup=False
    )


def show_secret(what: str) -> None:
    """Print a secret of the embedded stack on stdout, alone.

    Args:
        what: "api", "mlflow" or "label-studio".

    Raises:
        NotFound: if there is none yet.
        ActverseError: if it cannot be read.
    """
    from actverse.label_studio import PASSWORD
    from components.errors import NotFound

    home = Settings().home
    name = {"api": "api_key", "mlflow": "mlflow_token", "label-studio": PASSWORD}[what]
    path = home / "secrets" / name
    try:
        click.echo(path.read_text(encoding="ascii").strip())
    except FileNotFoundError as error:
        raise NotFound(
            f"There is no {path} yet: start the stack once with 'actverse up', or set "
            "ACTVERSE_HOME to the home of one that was."
        ) from error
    except OSError as error:
        raise ActverseError(
            f"{path} cannot be read ({error.strerror}): look at its permissions."
        ) from error


def bootstrap(user: str, *, again: bool) -> None:
    """Make the first administrator's key in the gateway's own database; print its text.

    Raises:
        Refused: if there is an administrator's key already.
        Unavailable: if the database does not answer.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from gateway.database import upgrade_database
    from gateway.keys import bootstrap_key

    settings = _database_settings()
    if settings.database_url.startswith("sqlite"):
        own_home(settings.home)
    try:
        upgrade_database(settings.database_url)
        made = bootstrap_key(settings, user, again=again)
    except SQLAlchemyError as error:
        raise Unavailable(
            f"The gateway's database does not take the key ({type(error).__name__}): look at "
            "ACTVERSE_DATABASE_URL."
        ) from error
    click.echo(made)
    make_console(stderr=True).print(
        f"An administrator's key of {plain(user)}: it is shown this once only.", markup=False
    )


def list_keys(gateway: str | None, key: str | None, *, as_json: bool) -> None:
    """Print the keys, without their texts."""
    with find_gateway(gateway, key).client() as client:
        keys = list(client.keys())
    if as_json:
        print_json(keys)
        return
    table = make_table("id", "user", "role", "label", "begins", "created", "revoked")
    for one in keys:
        table.add_row(
            *(str(one["id"]), cell(one["user_id"]), cell(one["role"]), cell(one["label"])),
            *(cell(one["prefix"]), moment(one["created"]), moment(one["revoked"])),
        )
    make_console().print(table)


def revoke_key(gateway: str | None, key: str | None, key_id: int, *, as_json: bool) -> None:
    """End a key."""
    with find_gateway(gateway, key).client() as client:
        revoked = client.revoke_key(key_id)
    if as_json:
        print_json(revoked)
        return
    make_console().print(
        f"Key {key_id} of {plain(revoked['user_id'])}, {plain(revoked['prefix'])}…, is revoked.",
        markup=False,
    )


def add_rule(
    gateway: str | None, key: str | None, url: str, events: tuple[str, ...], *, as_json: bool
) -> None:
    """Make a rule; ``-`` reads the address from stdin, where no process list shows it."""
    address = sys.stdin.readline().strip() if url == "-" else url
    with find_gateway(gateway, key).client() as client:
        rule = client.create_notification(address, [event.upper() for event in events])
    if as_json:
        print_json(rule)
        return
    make_console().print(
        f"Rule {rule['id']}: {plain(rule['url'])} hears of {_events(rule)}. "
        f"Try it: actverse notify test {rule['id']}",
        markup=False,
    )


def list_rules(gateway: str | None, key: str | None, *, as_json: bool) -> None:
    """Print the rules of who hears of what."""
    with find_gateway(gateway, key).client() as client:
        rules = list(client.notifications())
    if as_json:
        print_json(rules)
        return
    if not rules:
        make_console(stderr=True).print("There are no rules: actverse notify add URL")
        return
    table = make_table("id", "user", "where", "events", "last test")
    for rule in rules:
        tested = rule["test_error"] or moment(rule["tested"])
        table.add_row(
            *(str(rule["id"]), cell(rule["user_id"]), cell(rule["url"]), _events(rule)),
            cell(tested, "red" if rule["test_error"] else ""),
        )
    make_console().print(table)


def remove_rule(gateway: str | None, key: str | None, rule_id: int, *, as_json: bool) -> None:
    """End a rule."""
    with find_gateway(gateway, key).client() as client:
        rule = client.delete_notification(rule_id)
    if as_json:
        print_json(rule)
        return
    make_console().print(f"{plain(rule['url'])} hears no more by rule {rule_id}.", markup=False)


def try_rule(gateway: str | None, key: str | None, rule_id: int, *, as_json: bool) -> None:
    """Have a test message sent, and say what came of it.

    Raises:
        ActverseError: if it could not be sent.
        Unavailable: if no worker has tried for a while.
    """
    with find_gateway(gateway, key).client() as client:
        before = _rule(client, rule_id)
        sentence = client.test_notification(rule_id)
        make_console(stderr=True).print(plain(sentence), markup=False)
        deadline = time.monotonic() + _TEST_SECONDS
        while (rule := _rule(client, rule_id))["tested"] == before["tested"]:
            if time.monotonic() > deadline:
                raise Unavailable("No worker has sent it yet: see 'actverse notify list' later.")
            time.sleep(0.3)
    if as_json:
        print_json(rule)
    if rule["test_error"]:
        raise ActverseError(f"{plain(rule['url'])}: {plain(rule['test_error'])}")
    if not as_json:
        make_console().print("It was taken.")


def _rule(client: Client, rule_id: int) -> Rule:
    from components.errors import NotFound

    for rule in client.notifications():
        if rule["id"] == rule_id:
            return rule
    raise NotFound(f"There is no rule {rule_id} of yours: look at 'actverse notify list'.")


def _events(rule: Rule) -> str:
    return ", ".join(rule["events"]) or "all events"


def _database_settings() -> Settings:
    """Settings with which the gateway's own database is opened, and its keys are hashed."""
    from actverse.secrets import embedded_secret

    settings = Settings()
    if settings.shape == "embedded" and not settings.api_key_secret.get_secret_value():
        secret = embedded_secret(settings.home / "secrets", "api_key_secret")
        settings = Settings(**{**settings.model_dump(), "api_key_secret": secret})
    return settings
