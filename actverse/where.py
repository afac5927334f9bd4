"""Which gateway the command line talks to, and with which key."""

import os
from dataclasses import dataclass
from pathlib import Path

from actverse.client import Client
from actverse.label_studio import PASSWORD, USERNAME
from actverse.stack import api_key_path, find_running
from components.errors import ActverseError, BadInput, Unavailable
from components.settings import Settings


@dataclass(frozen=True)
class Where:
    """A gateway and a key for it.

    Attributes:
        settings: of the stack on this machine whose gateway it is; None for any other one.
        options: what a further command has to be given to reach the same one.
    """

    gateway: str
    api_key: str
    settings: Settings | None
    options: str = ""

    def client(self) -> Client:
        """A client for it."""
        return Client(self.gateway, self.api_key)

    def label_studio_login(self, url: str) -> str:
        """How people get into the Label Studio of an address, if it runs with this stack."""
        addresses = find_running(self.settings.home) if self.settings else None
        if not (self.settings and addresses and addresses.label_studio):
            return ""
        if not url.startswith(f"{addresses.label_studio.rstrip('/')}/"):
            return ""
        place = self.settings.home / "secrets" / PASSWORD
        return f"as {USERNAME}; the password is in {place}"

    def own_folder(self, user_id: str, key: str) -> Path | None:
        """Where a user's key lies on this machine, if it does."""
        if self.settings is None or self.settings.root.startswith("s3://"):
            return None
        return self.settings.layout.user_file(user_id, key)


def find_gateway(gateway: str | None, key: str | None) -> Where:
    """The gateway and key that are given, or those of the stack that runs in ``ACTVERSE_HOME``.

    Raises:
        BadInput: if another gateway's key is missing.
        Unavailable: if no gateway is given and no stack runs.
    """
    key = key or key_from_file()
    if gateway:
        if not key:
            raise BadInput(
                f"There is no API key for {gateway}: set ACTVERSE_API_KEY, or "
                "ACTVERSE_API_KEY_FILE to a file that holds it."
            )
        return Where(gateway, key, None, f" --gateway {gateway}")
    settings = Settings()
    addresses = find_running(settings.home)
    if addresses is None:
        raise Unavailable(
            f"No stack runs in {settings.home}: start one with 'actverse up', or name a gateway "
            "with --gateway."
        )
    return Where(addresses.gateway, key or local_key(settings), settings)


def key_from_file() -> str:
    """The key in the file that ``ACTVERSE_API_KEY_FILE`` names; empty if it is not set.

    Raises:
        BadInput: if the file cannot be read.
    """
    path = os.environ.get("ACTVERSE_API_KEY_FILE", "")
    try:
        return Path(path).read_text(encoding="utf-8").strip() if path else ""
    except (OSError, ValueError) as error:
        raise BadInput(
            f"The API key cannot be read from {path} ({type(error).__name__}): mend "
            "ACTVERSE_API_KEY_FILE."
        ) from error


def local_key(settings: Settings) -> str:
    """The local user's key for the stack of this machine.

    Raises:
        ActverseError: if it cannot be read.
    """
    path = api_key_path(settings.home)
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ActverseError(
            f"The API key in {path} cannot be read ({error.strerror}): look at its permissions."
        ) from error
