"""What became of one video among many: its failure is an outcome, and stops no other video."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.errors import ActverseError, BadInput, Unavailable
from components.files import write_text
from components.pipeline_step import PipelineStep, pipeline_step
from components.settings import Settings

logger = logging.getLogger("actverse.pipeline")

_FIRST_WAIT, _WAIT_FACTOR = 5.0, 4.0


class VideoOutcome(BaseModel):
    """How far a video came, passed from step to step as a file of JSON."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="names its folders in the storage")
    source: str = Field("", description="where it came from, without the query of a URL")
    failed_in: str = Field("", description="the step that failed; empty: none so far")
    error: str = Field("", description="that step's sentence")
    facts: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="what each step said of itself"
    )

    @property
    def failed(self) -> bool:
        """Whether a step has failed."""
        return bool(self.failed_in)

    def write(self, path: Path) -> None:
        """Write it to ``path``, which appears whole."""
        write_text(path, self.model_dump_json(indent=2))


def read_outcome(path: Path) -> VideoOutcome:
    """The outcome that an earlier step left.

    Raises:
        BadInput: if there is none.
    """
    try:
        return VideoOutcome.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is no video's outcome: run the analysis again.") from error


def settle(
    outcome: VideoOutcome,
    step: str,
    work: Callable[[PipelineStep], dict[str, Any]],
    *,
    wait: Callable[[float], None] = time.sleep,
) -> VideoOutcome:
    """Run a step for a video, unless an earlier one failed; its failure becomes the outcome.

    What does not answer is tried again, as often as ``pipeline_retries`` says.

    Args:
        outcome: of the step before.
        step: the step's name.
        work: does it, and returns its facts as JSON can hold them.
        wait: called with the seconds before a repeat.
    """
    if outcome.failed:
        logger.info("%s failed in %s: there is nothing to do.", outcome.id, outcome.failed_in)
        return outcome
    seconds = _FIRST_WAIT
    for left in reversed(range(Settings().pipeline_retries + 1)):
        try:
            with pipeline_step(step, outcome.id) as around:
                facts = work(around)
        except Unavailable as error:
            if not left:
                return _failed(outcome, step, str(error))
            logger.warning("%s Trying again in %g s.", error, seconds)
            wait(seconds)
            seconds *= _WAIT_FACTOR
        except ActverseError as error:
            return _failed(outcome, step, str(error))
        except Exception as error:
            # What breaks one video must not end the others.
            logger.exception("The step %s broke.", step)
            return _failed(outcome, step, f"The step {step} broke: {type(error).__name__}: {error}")
        else:
            break
    return outcome.model_copy(update={"facts": {**outcome.facts, step: facts}})


def _failed(outcome: VideoOutcome, step: str, sentence: str) -> VideoOutcome:
    # Where the storage's files lie on this machine tells nobody anything.
    sentence = sentence.replace(f"{Settings().layout.root}/", "")
    logger.error("%s failed in %s: %s", outcome.id, step, sentence)
    return outcome.model_copy(update={"failed_in": step, "error": sentence})
