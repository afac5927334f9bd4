"""The gateway's application. ``uvicorn --factory gateway.app:create_app``"""

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from components.settings import Settings
from gateway import problems
from gateway.api import health, tasks, webhooks
from gateway.callers import Callers
from gateway.database import open_database


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application on the database that the settings name; its schema must be there."""
    settings = settings or Settings()
    # FastAPI's own page takes its scripts from the network, which may not be there.
    app = FastAPIOffline(
        title="actverse",
        summary="Raw video in, a served custom model and its analysis out.",
        version="0.1.0",
    )
    app.state.settings = settings
    app.state.sessions = open_database(settings.database_url)
    app.state.callers = Callers(settings, app.state.sessions)
    problems.install(app)
    app.include_router(tasks.router)
    app.include_router(webhooks.router)
    app.include_router(health.router)
    return app
