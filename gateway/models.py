"""The tables. What stands here is the truth; processes may die and forget."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, ForeignKey, String, Text, TypeDecorator, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


def now() -> datetime:
    """The present moment, UTC."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite forgets the zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


class Base(DeclarativeBase):
    """All tables of the gateway."""


class Task(Base):
    """One piece of long work: a video's way through the loop, or a part of it.

    ``revision`` grows with every change that a watcher is to see. A round of labelling and
    training that follows another one names its task as ``previous_id``.
    """

    __tablename__ = "tasks"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(String(128), index=True)
    kind: Mapped[str] = mapped_column(String(32), default="loop")
    request: Mapped[dict[str, Any]] = mapped_column(JSON)
    previous_id: Mapped[str] = mapped_column(String(64), index=True, default="")
    state: Mapped[str] = mapped_column(String(16), index=True, default="queued")
    error: Mapped[str] = mapped_column(Text, default="")
    revision: Mapped[int] = mapped_column(default=1)
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    updated: Mapped[datetime] = mapped_column(UtcDateTime, default=now, onupdate=now)
    steps: Mapped[list["Step"]] = relationship(
        back_populates="task", order_by="Step.position, Step.id", cascade="all, delete-orphan"
    )


class Step(Base):
    """One step of a task; while it runs, its worker holds the lease and renews it.

    Steps of one position run side by side, once every step of a lower one has succeeded.
    ``queued`` is when a message for it was last sent, ``done`` and ``total`` count in the
    step's own unit.
    """

    __tablename__ = "steps"
    __table_args__ = (UniqueConstraint("task_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(32))
    position: Mapped[int]
    state: Mapped[str] = mapped_column(String(16), default="pending", index=True)
    attempt: Mapped[int] = mapped_column(default=0)
    percent: Mapped[float] = mapped_column(default=0.0)
    done: Mapped[float] = mapped_column(default=0.0)
    total: Mapped[float] = mapped_column(default=0.0)
    queued: Mapped[datetime | None] = mapped_column(UtcDateTime)
    sendings: Mapped[int] = mapped_column(default=0)
    started: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended: Mapped[datetime | None] = mapped_column(UtcDateTime)
    not_before: Mapped[datetime | None] = mapped_column(UtcDateTime)
    lease_holder: Mapped[str] = mapped_column(String(128), default="")
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error: Mapped[str] = mapped_column(Text, default="")
    facts: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    task: Mapped[Task] = relationship(back_populates="steps")


class Attempt(Base):
    """One attempt at a step, kept for the timeline and the metrics."""

    __tablename__ = "attempts"

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), index=True)
    step: Mapped[str] = mapped_column(String(32))
    attempt: Mapped[int]
    holder: Mapped[str] = mapped_column(String(128))
    started: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    ended: Mapped[datetime | None] = mapped_column(UtcDateTime)
    outcome: Mapped[str] = mapped_column(String(16), default="running", index=True)
    error: Mapped[str] = mapped_column(Text, default="")


class PipelineRun(Base):
    """A task's run on Kubeflow Pipelines, which goes on whether or not anybody looks at it.

    The row is there before the run is: ``run_id`` is empty until its submission was answered.
    ``hinted`` is when the run last asked to be looked at, ``ended`` when nothing was left to
    follow or to end.
    """

    __tablename__ = "pipeline_runs"

    task_id: Mapped[str] = mapped_column(
        ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True
    )
    run_id: Mapped[str] = mapped_column(String(128), default="")
    asked: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    hinted: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)


class Event(Base):
    """Something that happened to a task; written in the transaction that made it happen.

    ``key`` tells apart events of one name that a task may have more than once.
    ``published`` and ``noted`` say when the exchange took it and when the notifications
    that it calls for were written down.
    """

    __tablename__ = "events"
    __table_args__ = (UniqueConstraint("task_id", "name", "key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[str] = mapped_column(String(128), index=True)
    name: Mapped[str] = mapped_column(String(48))
    key: Mapped[str] = mapped_column(String(64), default="")
    revision: Mapped[int]
    time: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    data: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    published: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    noted: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)


class NotificationRule(Base):
    """Which events a user wants to hear of, and where; the address is stored encrypted.

    ``failures`` counts those since something was last taken; after some of them the rule is left
    alone until ``paused_until``. ``test_asked`` is when a test message was last asked for.
    """

    __tablename__ = "notification_rules"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(String(128), index=True)
    events: Mapped[list[str]] = mapped_column(JSON)
    sealed_url: Mapped[str] = mapped_column(Text)
    shown_url: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    tested: Mapped[datetime | None] = mapped_column(UtcDateTime)
    test_error: Mapped[str] = mapped_column(Text, default="")
    test_asked: Mapped[datetime | None] = mapped_column(UtcDateTime)
    failures: Mapped[int] = mapped_column(default=0)
    paused_until: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Notification(Base):
    """One message that a rule asks for; sent, or tried again.

    ``lease_until`` is set while it is on its way: a message for a worker is out, or one sends it.
    """

    __tablename__ = "notifications"
    __table_args__ = (UniqueConstraint("event_id", "rule_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"))
    rule_id: Mapped[int] = mapped_column(ForeignKey("notification_rules.id", ondelete="CASCADE"))
    state: Mapped[str] = mapped_column(String(16), default="pending", index=True)
    attempt: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[datetime | None] = mapped_column(UtcDateTime)
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error: Mapped[str] = mapped_column(Text, default="")


class ModelName(Base):
    """Whose a registered model's name is: of the user who asked for it first."""

    __tablename__ = "model_names"

    name: Mapped[str] = mapped_column(String(256), primary_key=True)
    user_id: Mapped[str] = mapped_column(String(128))
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)


class IdempotencyKey(Base):
    """A POST that was answered with a task; the same one again is answered with the same."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (UniqueConstraint("user_id", "key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(String(128))
    key: Mapped[str] = mapped_column(String(255))
    digest: Mapped[str] = mapped_column(String(64))
    task_id: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)


class ApiKey(Base):
    """An API key; only its keyed hash is stored."""

    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(String(128), index=True)
    role: Mapped[str] = mapped_column(String(16), default="user")
    label: Mapped[str] = mapped_column(String(128), default="")
    prefix: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    revoked: Mapped[datetime | None] = mapped_column(UtcDateTime)


class WebhookDelivery(Base):
    """A verified delivery; its id is remembered, so that a repeat changes nothing."""

    __tablename__ = "webhook_deliveries"

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(String(32))
    delivery_id: Mapped[str] = mapped_column(String(128))
    event: Mapped[str] = mapped_column(String(64))
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    received: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    handled: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    outcome: Mapped[str] = mapped_column(Text, default="")

    __table_args__ = (UniqueConstraint("source", "delivery_id"),)


class Heartbeat(Base):
    """When a background part (``queue:video``, ``beat``, ``watcher`` …) last showed itself."""

    __tablename__ = "heartbeats"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    seen: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
