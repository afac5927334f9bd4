"""Promotions: verified deliveries are acted on at once, and aliases compared again and again.

The webhook only writes a row; this thread, beside the worker, does the work. A delivery
that was lost costs no more than one round of the comparison.
"""

import logging
import threading
import time
from typing import TYPE_CHECKING

from sqlalchemy import select

from components.errors import Unavailable
from components.settings import Settings
from gateway.database import Sessions
from gateway.models import WebhookDelivery, now

if TYPE_CHECKING:
    from components.serving.reconcile import Reconciler

logger = logging.getLogger("actverse.promotions")

ALIAS_SET = "model_version_alias.created"
_INBOX_SECONDS = 0.2
_PATIENCE_SECONDS = 1.0
"""That a round waits for a slow model before the next one may begin."""


class Promotions(threading.Thread):
    """Brings Triton to what the registry's aliases say."""

    def __init__(self, settings: Settings, sessions: Sessions) -> None:
        super().__init__(name="promotions")
        self.settings = settings
        self.sessions = sessions
        self.stopping = threading.Event()
        # Deliveries that are acted on, by model.
        self._acting: dict[str, set[int]] = {}

    def stop(self) -> None:
        """End after the promotion that is under way."""
        self.stopping.set()

    def run(self) -> None:
        """Compare when a delivery says so, and every few seconds in any case."""
        from components.serving.promote import Promoter
        from components.serving.reconcile import Reconciler

        reconciler = Reconciler(Promoter(self.settings))
        compared = 0.0
        while not self.stopping.wait(_INBOX_SECONDS):
            due = time.monotonic() - compared >= self.settings.reconcile_seconds
            try:
                deliveries = self._waiting()
                if deliveries or due:
                    compared = time.monotonic()
                    self._round(reconciler, deliveries)
            except Unavailable as error:
                logger.warning("%s", error)
            except Exception:
                # The thread is the only one that heals serving: it must outlive any fault.
                logger.exception("a round of promotions broke; the next one follows")

    def _waiting(self) -> list[WebhookDelivery]:
        with self.sessions() as session:
            query = select(WebhookDelivery).where(
                WebhookDelivery.source == "mlflow", WebhookDelivery.handled.is_(None)
            )
            return list(session.scalars(query.order_by(WebhookDelivery.id)))

    def _round(self, reconciler: "Reconciler", deliveries: list[WebhookDelivery]) -> None:
        """Bring Triton to what the aliases say by now; a delivery is only the hint to look.

        One of a model that an earlier round is still at waits, until that has ended if it
        came since then, and for its outcome if that was begun for it.
        """
        named = {d.id: str(d.data.get("name")) for d in deliveries if self._about_champion(d)}
        taken = {*self._acting, *reconciler.running}
        begins = {i: name for i, name in named.items() if name not in taken}
        for number, name in begins.items():
            self._acting.setdefault(name, set()).add(number)
        try:
            outcomes = {
                outcome.model: outcome
                for outcome in reconciler.round(set(begins.values()), _PATIENCE_SECONDS)
            }
        except BaseException:
            # Each is acted on again.
            self._acting.clear()
            raise
        with self.sessions.begin() as session:
            for delivery in deliveries:
                name = named.get(delivery.id, "")
                outcome = outcomes.get(name)
                acted = delivery.id in self._acting.get(name, set())
                if name and (not acted or name in reconciler.running):
                    continue
                row = session.get_one(WebhookDelivery, delivery.id)
                row.handled = now()
                if outcome is not None and name:
                    row.outcome = f"{outcome.action} {outcome.version} {outcome.reason}".strip()
        self._acting = {
            name: ids for name, ids in self._acting.items() if name in reconciler.running
        }

    def _about_champion(self, delivery: WebhookDelivery) -> bool:
        alias = delivery.data.get("alias")
        return delivery.event == ALIAS_SET and alias == self.settings.champion_alias
