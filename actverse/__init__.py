"""The front door: command line, the embedded stack, the demo, the Python client."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actverse.client import Client

__version__ = "0.1.0"
__all__ = ["Client", "__version__"]


def __getattr__(name: str) -> Any:
    # Only who uses the client pays for it.
    if name == "Client":
        from actverse.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
