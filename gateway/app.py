"""The gateway's application; ``gateway.server`` makes a server of it."""

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from components.settings import Settings
from components.storage import open_storage
from gateway import browsers, limits, openapi, problems, request_log
from gateway.api import (
    files,
    health,
    keys,
    label_files,
    labeling,
    metrics,
    models,
    notifications,
    page,
    status,
    tasks,
    training,
    video,
    webhooks,
)
from gateway.at_once import AtOnce
from gateway.callers import Callers
from gateway.celery_app import create_celery
from gateway.database import open_database
from gateway.dispatch import Dispatcher
from gateway.http_limits import most_connections
from gateway.live import Live
from gateway.metrics import GatewayMetrics
from gateway.readiness import Readiness

# Each holds one of the threads that answer requests, and much of the disk's time.
_EXPORTS = 3
# Each holds a connection and an open file, for as long as its client sends slowly.
_UPLOADS, _UPLOADS_EACH = 256, 8
# Watchers keep their connections: some must be left for all that is short.
_WATCHERS_SHARE, _WATCHERS_EACH = 0.8, 256


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
    # A request is not to wait as long as a worker may.
    app.state.sessions = open_database(settings.database_url, patience=5.0)
    app.state.storage = open_storage(settings)
    app.state.dispatcher = Dispatcher(settings, app.state.sessions, create_celery(settings))
    app.state.live = Live(settings, app.state.sessions)
    app.state.callers = Callers(settings, app.state.sessions)
    app.state.metrics = GatewayMetrics(app.state.sessions, lambda: app.state.live.watcher_count())
    app.state.exports = AtOnce(_EXPORTS, "Downloads of labels with their images")
    app.state.uploads = AtOnce(_UPLOADS, "Uploads", _UPLOADS_EACH)
    watchers = int(most_connections() * _WATCHERS_SHARE)
    app.state.watchers = AtOnce(watchers, "Live streams", _WATCHERS_EACH)
    app.state.readiness = Readiness(settings, app.state.sessions, app.state.storage)
    problems.install(app)
    limits.install(app, settings)
    browsers.install(app, settings)
    request_log.install(app, app.state.metrics.observe)
    subjects = (
        tasks,
        status,
        video,
        label_files,
        labeling,
        training,
        models,
        files,
        keys,
        notifications,
        webhooks,
        health,
        metrics,
        page,
    )
    for subject in subjects:
        app.include_router(subject.router)
    openapi.describe(app)
    return app
