"""The gateway as a server of its own, with its logs set up.

``uvicorn --factory gateway.server:create_server --no-access-log --no-server-header
--http gateway.http_limits:LimitedProtocol``
"""

from fastapi import FastAPI

from components.settings import Settings
from gateway.app import create_app
from gateway.logs import set_up_logs


def create_server() -> FastAPI:
    """The application, by the environment's settings."""
    settings = Settings()
    set_up_logs(settings)
    return create_app(settings)
