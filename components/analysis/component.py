"""The analysis of one video among many as a pipeline component."""

from kfp import dsl

from components.settings import Settings


@dsl.component(base_image=Settings().light_image, install_kfp_package=False)
def analyse(
    model_name: str,
    model_version: int,
    confidence: float,
    iou: float,
    batch_size: int,
    frame_skip: int,
    max_frames: int,
    fetched: dsl.Input[dsl.Artifact],
    outcome: dsl.Output[dsl.Artifact],
) -> None:
    """Analyse a fetched video with the served model.

    Args:
        model_name: a served model.
        model_version: one of its versions; 0: the one that is served.
        confidence, iou, batch_size, frame_skip: as in AnalysisOptions.
        max_frames: analyse at most so many; 0: all.
        fetched: the outcome of the fetching.
        outcome: with what was found, or the failure.
    """
    from pathlib import Path

    from components.analysis.served import analyse_stored
    from components.video_outcome import read_outcome
    from components.video_process import settle_apart

    before = read_outcome(Path(fetched.path))
    settled = settle_apart(
        before,
        "analyse",
        analyse_stored,
        video_id=before.id,
        model_name=model_name,
        model_version=model_version,
        options={
            "confidence": confidence,
            "iou": iou,
            "batch_size": batch_size,
            "frame_skip": frame_skip,
            "max_frames": max_frames or None,
        },
        fetched=before.facts.get("fetch", {}),
    )
    settled.write(Path(outcome.path))
    outcome.metadata.update(video=settled.id, error=settled.error)
