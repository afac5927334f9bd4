"""What Triton serves at the moment."""

from dataclasses import dataclass

from components.errors import NotFound
from components.served_model import ModelCard
from components.serving.client import TritonModel
from components.serving.control import TritonControl
from components.serving.repository import is_candidate
from components.settings import Settings


@dataclass(frozen=True)
class ServedModel:
    """A model that is loaded.

    Attributes:
        model: its registered name.
        version: the one that answers requests which name none.
        versions: all that are loaded.
        card: that version's.
    """

    model: str
    version: int
    versions: tuple[int, ...]
    card: ModelCard


def served_models(settings: Settings) -> list[ServedModel]:
    """The models that Triton calls ready, by name.

    Raises:
        Unavailable: if Triton does not answer.
    """
    served = []
    key = settings.triton_control_key.get_secret_value()
    with TritonControl(settings.triton_url, timeout=10, key=key) as control:
        found = control.served()
    for model, versions in sorted(found.items()):
        if is_candidate(model):
            continue
        ready = sorted(versions)
        with TritonModel(settings.triton_url, model, ready[-1], shared_memory=False) as client:
            try:
                card = client.card
            except NotFound:
                # Unloaded a moment ago, or put there by somebody else.
                continue
        served.append(ServedModel(model, ready[-1], tuple(ready), card))
    return served
