"""What Prometheus is told: requests from this process, everything else from the database.

Series that are read from the database are the same in each gateway: take the ``max`` over
instances of them, not the ``sum``. They count what the database still holds: a task that is
deleted takes its attempts with it, as a counter's reset would.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import ColumnElement, Float, case, cast, extract, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import InstrumentedAttribute, Session

from gateway.database import Sessions
from gateway.models import Attempt, Heartbeat, Notification, Step, Task, WebhookDelivery, now
from gateway.promotions import ALIAS_SET
from gateway.request_log import Answered
from gateway.tasks import queue_depths

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_FRESH_SECONDS = 1.0
# Of the time, so much is spent on queries at most, however often somebody scrapes.
_SHARE = 0.05
_PROMOTIONS = ("unchanged", "promoted", "reloaded", "skipped", "failed")
_TASK_STATES = ("queued", "running", "waiting", "succeeded", "failed", "cancelled")
_NOTIFICATION_STATES = ("pending", "sending", "sent", "failed")


class GatewayMetrics:
    """The metrics of one application."""

    def __init__(self, sessions: Sessions, watchers: Callable[[], int]) -> None:
        """As far as no database is needed; ``watchers`` tells how many there are."""
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "actverse_http_requests",
            "Requests that were answered.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "actverse_http_request_duration_seconds",
            "Seconds until an answer's end; of a stream of events, until it began.",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        Gauge(
            "actverse_watchers", "Clients that watch a task live.", registry=self.registry
        ).set_function(watchers)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.registry.register(DatabaseCollector(sessions))

    def observe(self, answered: Answered) -> None:
        """Count a request."""
        method, route = answered.method, answered.route or "(none)"
        self._requests.labels(method, route, str(answered.status)).inc()
        self._seconds.labels(method, route).observe(answered.seconds)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class DatabaseCollector(Collector):
    """Metrics that are read from the database when they are asked for."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._lock = threading.Lock()
        self._metrics: list[Metric] = []
        self._until = 0.0

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering asks no database."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """What was read a moment ago, or is read now."""
        with self._lock:
            if time.monotonic() >= self._until:
                begun = time.monotonic()
                self._metrics = self._read()
                ended = time.monotonic()
                self._until = ended + max(_FRESH_SECONDS, (ended - begun) / _SHARE)
            return list(self._metrics)

    def _read(self) -> list[Metric]:
        up = GaugeMetricFamily("actverse_database_up", "1 if the database answers.")
        try:
            with self._sessions() as session:
                metrics = [
                    *_attempts(session),
                    _queues(session),
                    _states(session, "actverse_tasks", "Tasks by state.", Task.state, _TASK_STATES),
                    *_analysis(session),
                    _promotions(session),
                    _states(
                        session,
                        "actverse_notifications",
                        "Notifications by state.",
                        Notification.state,
                        _NOTIFICATION_STATES,
                    ),
                    _heartbeats(session),
                ]
        except SQLAlchemyError:
            up.add_metric((), 0)
            return [up]
        up.add_metric((), 1)
        return [*metrics, up]


def _attempts(session: Session) -> list[Metric]:
    counted = CounterMetricFamily(
        "actverse_step_attempts",
        "Attempts at steps that have ended.",
        labels=("step", "outcome"),
    )
    taken = SummaryMetricFamily(
        "actverse_step_duration_seconds", "Seconds that attempts took.", labels=("step", "outcome")
    )
    lost = CounterMetricFamily(
        "actverse_leases_recovered", "Steps taken from a lost worker.", labels=("step",)
    )
    seconds = _seconds(session, Attempt.ended) - _seconds(session, Attempt.started)
    query = (
        select(Attempt.step, Attempt.outcome, func.count(), func.sum(seconds))
        .where(Attempt.ended.is_not(None))
        .group_by(Attempt.step, Attempt.outcome)
        .order_by(Attempt.step, Attempt.outcome)
    )
    for step, outcome, count, total in session.execute(query).tuples():
        counted.add_metric((step, outcome), count)
        taken.add_metric((step, outcome), count_value=count, sum_value=float(total))
        if outcome == "lost":
            lost.add_metric((step,), count)
    return [counted, taken, lost]


def _queues(session: Session) -> Metric:
    metric = GaugeMetricFamily(
        "actverse_queue_depth", "Steps that wait for a worker.", labels=("queue",)
    )
    for queue, depth in sorted(queue_depths(session).items()):
        metric.add_metric((str(queue),), depth)
    return metric


def _analysis(session: Session) -> list[Metric]:
    frames = session.scalar(select(func.sum(Step.done)).where(Step.name == "analyse"))
    total = CounterMetricFamily("actverse_analysed_frames", "Frames that were analysed.")
    total.add_metric((), float(frames or 0))
    pace = GaugeMetricFamily(
        "actverse_analysis_frames_per_second", "Pace of the analyses that run, together."
    )
    query = select(Step.done, Step.started).where(Step.name == "analyse", Step.state == "running")
    moment = now()
    pace.add_metric(
        (),
        sum(
            done / max((moment - started).total_seconds(), 1.0)
            for done, started in session.execute(query).tuples()
            if started is not None
        ),
    )
    return [total, pace]


def _promotions(session: Session) -> Metric:
    metric = CounterMetricFamily(
        "actverse_promotions",
        "Aliases that were set, by what became of it.",
        labels=("outcome",),
    )
    outcome = case(
        *((WebhookDelivery.outcome.like(f"{name} %"), name) for name in _PROMOTIONS), else_=""
    ).label("action")
    query = (
        select(outcome, func.count())
        .where(WebhookDelivery.event == ALIAS_SET, WebhookDelivery.handled.is_not(None))
        .group_by("action")
    )
    counts: dict[str, int] = dict(session.execute(query).tuples().all())
    for name in _PROMOTIONS:
        metric.add_metric((name,), counts.get(name, 0))
    return metric


def _states(
    session: Session,
    name: str,
    meaning: str,
    column: InstrumentedAttribute[str],
    states: tuple[str, ...],
) -> Metric:
    metric = GaugeMetricFamily(name, meaning, labels=("state",))
    counts = dict(session.execute(select(column, func.count()).group_by(column)).tuples().all())
    for state in states:
        metric.add_metric((state,), counts.get(state, 0))
    return metric


def _heartbeats(session: Session) -> Metric:
    metric = GaugeMetricFamily(
        "actverse_heartbeat_age_seconds",
        "Seconds since a background part showed itself.",
        labels=("part",),
    )
    moment = now()
    for name, seen in session.execute(select(Heartbeat.name, Heartbeat.seen)).tuples():
        metric.add_metric((name,), (moment - seen).total_seconds())
    return metric


def _seconds(session: Session, column: InstrumentedAttribute[Any]) -> ColumnElement[float]:
    """A moment as a number of seconds, in the database's own words."""
    if session.get_bind().dialect.name == "sqlite":
        return func.julianday(column, type_=Float) * 86400.0
    return cast(extract("epoch", column), Float)
