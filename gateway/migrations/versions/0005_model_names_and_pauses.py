"""Whose a model's name is; rules whose address does not answer are left alone for a while"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_MAKING = ("loop", "round", "training", "deployment", "model")


def upgrade() -> None:
    names = op.create_table(
        "model_names",
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("user_id", sa.String(length=128), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.bulk_insert(names, _taken())
    with op.batch_alter_table("notification_rules", schema=None) as batch_op:
        batch_op.add_column(sa.Column("test_asked", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("failures", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("notification_rules", schema=None) as batch_op:
        batch_op.drop_column("paused_until")
        batch_op.drop_column("failures")
        batch_op.drop_column("test_asked")
    op.drop_table("model_names")


def _taken() -> list[dict[str, object]]:
    """The names that the tasks have, each with who asked for it first."""
    tasks = sa.table(
        "tasks",
        sa.column("user_id", sa.String),
        sa.column("kind", sa.String),
        sa.column("request", sa.JSON),
        sa.column("created", sa.DateTime(timezone=True)),
        sa.column("id", sa.String),
    )
    query = (
        sa.select(tasks.c.user_id, tasks.c.request)
        .where(tasks.c.kind.in_(_MAKING))
        .order_by(tasks.c.created, tasks.c.id)
    )
    owners: dict[str, str] = {}
    for user_id, request in op.get_bind().execute(query):
        name = request.get("model_name") or f"{user_id}-{request.get('task', 'detect')}"
        owners.setdefault(name, user_id)
    moment = datetime.now(UTC)
    return [{"name": n, "user_id": user, "created": moment} for n, user in owners.items()]
