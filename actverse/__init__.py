"""The front door: command line, the embedded stack, the demo."""

__version__ = "0.1.0"
