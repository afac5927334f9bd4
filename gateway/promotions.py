"""Promotions: verified deliveries are acted on at once, and aliases compared again and again.

The webhook only writes a row; this thread, beside the worker, does the work. A delivery
that was lost costs no more than one round of the comparison.
"""

import logging
import threading
import time
from typing import TYPE_CHECKING

from sqlalchemy import select

from components.errors import ActverseError, Unavailable
from components.settings import Settings
from gateway.database import Sessions
from gateway.models import WebhookDelivery, now

if TYPE_CHECKING:
    from components.serving.promote import Promoter

logger = logging.getLogger("actverse.promotions")

ALIAS_SET = "model_version_alias.created"
_INBOX_SECONDS = 0.2


class Promotions(threading.Thread):
    """Brings Triton to what the registry's aliases say."""

    def __init__(self, settings: Settings, sessions: Sessions) -> None:
        super().__init__(name="promotions")
        self.settings = settings
        self.sessions = sessions
        self.stopping = threading.Event()

    def stop(self) -> None:
        """End after the promotion that is under way."""
        self.stopping.set()

    def run(self) -> None:
        """Handle deliveries as they come, and compare every few seconds."""
        from components.serving.promote import Promoter
        from components.serving.reconcile import reconcile

        promoter = Promoter(self.settings)
        compared = 0.0
        while not self.stopping.wait(_INBOX_SECONDS):
            try:
                self._handle_deliveries(promoter)
                if time.monotonic() - compared >= self.settings.reconcile_seconds:
                    for promotion in reconcile(promoter):
                        logger.info("reconciled: %s", promotion)
                    compared = time.monotonic()
            except Unavailable as error:
                logger.warning("%s", error)
                compared = time.monotonic()
            except Exception:
                # The thread is the only one that heals serving: it must outlive any fault.
                logger.exception("a round of promotions broke; the next one follows")
                compared = time.monotonic()

    def _handle_deliveries(self, promoter: "Promoter") -> None:
        with self.sessions() as session:
            waiting = session.scalars(
                select(WebhookDelivery)
                .where(WebhookDelivery.handled.is_(None))
                .order_by(WebhookDelivery.id)
            ).all()
        for delivery in waiting:
            outcome = self._act_on(promoter, delivery)
            with self.sessions.begin() as session:
                row = session.get_one(WebhookDelivery, delivery.id)
                row.handled, row.outcome = now(), outcome

    def _act_on(self, promoter: "Promoter", delivery: WebhookDelivery) -> str:
        data = delivery.data
        if delivery.event != ALIAS_SET or data.get("alias") != self.settings.champion_alias:
            return "not about a champion"
        model, version = str(data["name"]), int(data["version"])
        try:
            promotion = promoter.promote(model, version)
        except Unavailable:
            raise
        except ActverseError as error:
            # The outcome stands on the version, where people look; the old one serves on.
            logger.warning("%s version %d was not promoted: %s", model, version, error)
            return f"failed: {error}"
        logger.info("promoted: %s", promotion)
        return "ready"
