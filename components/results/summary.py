"""What became of many videos, for people and for programs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from components.errors import StepFailed
from components.files import write_text
from components.pipeline_step import PipelineStep
from components.video_outcome import VideoOutcome

SUMMARY = "summary.json"
_COLUMNS = ("Video", "Outcome", "Frames", "Detections", "Identities", "Model", "Source")


@dataclass(frozen=True)
class Summary:
    """The videos of one run, in the order in which they were given."""

    run_id: str
    videos: tuple[VideoOutcome, ...]

    @property
    def failed(self) -> tuple[VideoOutcome, ...]:
        """Those that did not come to their end."""
        return tuple(video for video in self.videos if video.failed)

    def metrics(self) -> dict[str, float]:
        """How many videos, analysed frames and detections there are; the failed apart."""
        return {
            "videos": len(self.videos),
            "failed": len(self.failed),
            "frames": sum(_analysis(video).get("frames", 0) for video in self.videos),
            "detections": sum(_analysis(video).get("detections", 0) for video in self.videos),
        }

    def as_json(self) -> dict[str, Any]:
        """What stands in ``summary.json``."""
        return {
            "run_id": self.run_id,
            **self.metrics(),
            "results": [
                {
                    "id": video.id,
                    "source": video.source,
                    "state": "failed" if video.failed else "succeeded",
                    "failed_in": video.failed_in,
                    "error": video.error,
                    "files": sorted(
                        file for facts in video.facts.values() for file in facts.get("files", ())
                    ),
                    **_analysis(video),
                }
                for video in self.videos
            ],
        }

    def markdown(self) -> str:
        """A heading and a table with a line for each video."""
        lines = [_cells(_COLUMNS), _cells(["---"] * len(_COLUMNS))]
        lines += [_cells([_markdown(cell) for cell in _row(video)]) for video in self.videos]
        return f"# {self._heading()}\n\n" + "\n".join(lines) + "\n"

    def html(self) -> str:
        """The same as a page of its own."""

        def row(cells: Sequence[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(row(_row(video), "td") for video in self.videos)
        return (
            '<!doctype html><meta charset="utf-8"><title>actverse</title>'
            "<style>body{font-family:sans-serif}td,th{text-align:left;padding:.3em .8em;"
            "border-bottom:1px solid #ccc}</style>"
            f"<h1>{escape(self._heading())}</h1><table>{row(_COLUMNS, 'th')}{body}</table>"
        )

    def check(self) -> None:
        """Raise StepFailed, with the first one's sentence, if every video has failed."""
        if len(self.failed) < len(self.videos):
            return
        if not self.videos:
            raise StepFailed(f"The run {self.run_id} had no videos: give it some.")
        first = self.videos[0]
        raise StepFailed(
            f"None of the {len(self.videos)} videos could be analysed; the first one, "
            f"{first.id}, failed in the step {first.failed_in}: {first.error}"
        )

    def _heading(self) -> str:
        done = len(self.videos) - len(self.failed)
        return f"{self.run_id}: {done} of {len(self.videos)} videos analysed"


def summarise(run_id: str, outcomes: Sequence[VideoOutcome]) -> Summary:
    """Put together what the last steps said of each video; a failure of one is the video's.

    Args:
        run_id: names the run.
        outcomes: of the last steps, any number of each video.
    """
    videos: dict[str, VideoOutcome] = {}
    for outcome in outcomes:
        known = videos.setdefault(outcome.id, outcome)
        bad = known if known.failed else outcome
        videos[outcome.id] = known.model_copy(
            update={
                "failed_in": bad.failed_in,
                "error": bad.error,
                "facts": {**known.facts, **outcome.facts},
            }
        )
    return Summary(run_id, tuple(videos.values()))


def keep_summary(summary: Summary, step: PipelineStep) -> None:
    """Write ``inference_results/{run_id}/summary.json`` and keep it in the storage."""
    path = step.layout.results(summary.run_id) / SUMMARY
    write_text(path, json.dumps(summary.as_json(), indent=2))
    step.storage.keep(path)


def _analysis(video: VideoOutcome) -> dict[str, Any]:
    return video.facts.get("analyse", {})


def _row(video: VideoOutcome) -> list[str]:
    found = _analysis(video)
    model = f"{found['model']} {found['version']}" if found else ""
    outcome = f"failed in {video.failed_in}: {video.error}" if video.failed else "succeeded"
    counts = [str(found.get(name, "")) for name in ("frames", "detections", "identities")]
    return [video.id, outcome, *counts, model, video.source]


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown(text: str) -> str:
    """Text that stays in its cell, and makes no markup."""
    text = " ".join(text.split())
    for sign in "\\|`*_[]<>":
        text = text.replace(sign, f"\\{sign}")
    return text
