"""The gateway's application. ``uvicorn --factory gateway.app:create_app``"""

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from components.settings import Settings
from gateway import browsers, limits, problems, request_log
from gateway.api import health, metrics, tasks, webhooks
from gateway.callers import Callers
from gateway.database import open_database
from gateway.metrics import GatewayMetrics


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
    app.state.metrics = GatewayMetrics(app.state.sessions)
    problems.install(app)
    limits.install(app, settings)
    browsers.install(app, settings)
    request_log.install(app, app.state.metrics.observe)
    app.include_router(tasks.router)
    app.include_router(webhooks.router)
    app.include_router(health.router)
    app.include_router(metrics.router)
    return app
