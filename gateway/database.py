"""The connection to the database, and its schema brought up to date."""

from pathlib import Path

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session, sessionmaker

Sessions = sessionmaker[Session]

# So that a server that is gone without a word is noticed within 35 s: by default the kernel sends
# again for a quarter of an hour, and asks who is silent for the first time after two hours.
_POSTGRES = {
    "connect_timeout": 5,
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
_MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(url: str, *, patience: float = 30.0) -> Sessions:
    """Connect to the database at a SQLAlchemy URL; the schema is as it is.

    SQLite runs with a write-ahead log, so that readers never wait for a writer.

    Args:
        patience: seconds to wait for another writer's lock on SQLite.
    """
    engine = _engine(url, patience)
    return sessionmaker(engine, expire_on_commit=False)


def upgrade_database(url: str) -> None:
    """Bring the schema at ``url`` to the newest version; a database that has it is left alone."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    engine = _engine(url, patience=30.0)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    engine.dispose()


def _engine(url: str, patience: float) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        known = parsed.get_backend_name() == "postgresql"
        return create_engine(url, pool_pre_ping=True, connect_args=_POSTGRES if known else {})
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": patience})

    @event.listens_for(engine, "connect")
    def _configure(connection: object, record: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    return engine
