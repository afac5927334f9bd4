"""The analysis pipeline: many videos at once, each with its own outcome."""

from typing import TYPE_CHECKING, Dict, List  # noqa: UP035 (KFP tells a loop item's type by these)

from components.settings import Settings
from pipelines.task_policy import apply_policy

if TYPE_CHECKING:
    from kfp.dsl.graph_component import GraphComponent


def analysis_pipeline(settings: Settings) -> "GraphComponent":
    """The pipeline with the images and resources of these settings.

    A task that fails would end the loop. So a video's failure is no task's failure but an
    outcome, which its later tasks pass on and the summary lists. What decodes and encodes is a
    process of its own in the pod, whose death is an outcome too; a pod's own death is not.

    Raises:
        BadInput: if a setting cannot be used in a pipeline.
    """
    from kfp import dsl

    from components.analysis.component import analyse
    from components.results.component import notebook, overlay, summary, tables
    from components.video.component import fetch

    @dsl.pipeline(
        name="actverse-analysis",
        description="Videos, side by side: fetch → analyse → results; then a summary of all",
    )
    def analysis(
        run_id: str,
        videos: List[Dict[str, str]],  # noqa: UP006
        model_name: str,
        model_version: int = 0,
        confidence: float = 0.25,
        iou: float = 0.7,
        batch_size: int = 8,
        frame_skip: int = 1,
        max_frames: int = 0,
    ) -> None:
        """Analyse many videos with a served model.

        Args:
            run_id: names the folder of the summary in the storage.
            videos: for each its id, which names its folder of results, and its source: an
                http, https or s3 URL, or a key of the storage.
            model_name: a served model.
            model_version: one of its versions; 0: the one that is served.
            confidence: findings below it are left out.
            iou: two boxes of a class that overlap more are one.
            batch_size: frames in one request to the model.
            frame_skip: analyse every n-th frame; 1 is all.
            max_frames: analyse at most so many frames of each video; 0: all.
        """
        with dsl.ParallelFor(
            videos, name="Videos", parallelism=settings.pipeline_parallelism
        ) as video:
            fetched = fetch(video=video)
            analysed = analyse(
                model_name=model_name,
                model_version=model_version,
                confidence=confidence,
                iou=iou,
                batch_size=batch_size,
                frame_skip=frame_skip,
                max_frames=max_frames,
                fetched=fetched.outputs["outcome"],
            )
            found = analysed.outputs["outcome"]
            tabled, overlaid, noted = (
                write(analysed=found) for write in (tables, overlay, notebook)
            )
        summarised = summary(
            run_id=run_id,
            with_tables=dsl.Collected(tabled.outputs["outcome"]),
            with_overlay=dsl.Collected(overlaid.outputs["outcome"]),
            with_notebook=dsl.Collected(noted.outputs["outcome"]),
        )
        tasks = {
            "fetch": fetched,
            "analyse": analysed,
            "tables": tabled,
            "overlay": overlaid,
            "notebook": noted,
            "summary": summarised,
        }
        for name, task in tasks.items():
            apply_policy(task, name, settings)

    return analysis
