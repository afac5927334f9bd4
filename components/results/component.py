"""The result files of one video among many, and the summary of all, as pipeline components."""

from typing import List  # noqa: UP035 (of list[...] KFP makes no list of artifacts)

from kfp import dsl

from components.settings import Settings


@dsl.component(base_image=Settings().light_image, install_kfp_package=False)
def tables(analysed: dsl.Input[dsl.Artifact], outcome: dsl.Output[dsl.Artifact]) -> None:
    """Write a video's results.csv and results.json.

    Args:
        analysed: the outcome of its analysis.
        outcome: with the files, or the failure.
    """
    from pathlib import Path

    from components.results.stored import write_stored_tables
    from components.video_outcome import read_outcome, settle

    before = read_outcome(Path(analysed.path))
    settled = settle(before, "tables", lambda step: write_stored_tables(step, before.id))
    settled.write(Path(outcome.path))
    outcome.metadata.update(video=settled.id, error=settled.error)


@dsl.component(base_image=Settings().light_image, install_kfp_package=False)
def overlay(analysed: dsl.Input[dsl.Artifact], outcome: dsl.Output[dsl.Artifact]) -> None:
    """Write a video's overlaid_results.mp4.

    Args:
        analysed: the outcome of its analysis.
        outcome: with the file, or the failure.
    """
    from pathlib import Path

    from components.results.stored import write_stored_overlay
    from components.video_outcome import read_outcome
    from components.video_process import settle_apart

    before = read_outcome(Path(analysed.path))
    settled = settle_apart(before, "overlay", write_stored_overlay, video_id=before.id)
    settled.write(Path(outcome.path))
    outcome.metadata.update(video=settled.id, error=settled.error)


@dsl.component(base_image=Settings().light_image, install_kfp_package=False)
def notebook(analysed: dsl.Input[dsl.Artifact], outcome: dsl.Output[dsl.Artifact]) -> None:
    """Write a video's report.ipynb.

    Args:
        analysed: the outcome of its analysis.
        outcome: with the file, or the failure.
    """
    from pathlib import Path

    from components.results.stored import write_stored_notebook
    from components.video_outcome import read_outcome, settle

    before = read_outcome(Path(analysed.path))
    settled = settle(before, "notebook", lambda step: write_stored_notebook(step, before.id))
    settled.write(Path(outcome.path))
    outcome.metadata.update(video=settled.id, error=settled.error)


@dsl.component(base_image=Settings().light_image, install_kfp_package=False)
def summary(
    run_id: str,
    with_tables: dsl.Input[List[dsl.Artifact]],  # noqa: UP006
    with_overlay: dsl.Input[List[dsl.Artifact]],  # noqa: UP006
    with_notebook: dsl.Input[List[dsl.Artifact]],  # noqa: UP006
    report: dsl.Output[dsl.Markdown],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """List every video with what became of it; fail if every one has failed.

    Args:
        run_id: names the folder of the summary in the storage.
        with_tables, with_overlay, with_notebook: the last outcomes of each video.
        report: the table as Markdown.
        page: the same as HTML.
        metrics: how many videos, frames and detections there are.
    """
    from pathlib import Path

    from components.files import write_text
    from components.pipeline_step import pipeline_step
    from components.results.summary import keep_summary, summarise
    from components.video_outcome import read_outcome

    with pipeline_step("summary", run_id) as step:
        outcomes = [
            read_outcome(Path(artifact.path))
            for artifact in [*with_tables, *with_overlay, *with_notebook]
        ]
        said = summarise(run_id, outcomes)
        write_text(Path(report.path), said.markdown())
        write_text(Path(page.path), said.html())
        for name, value in said.metrics().items():
            metrics.log_metric(name, value)
        keep_summary(said, step)
        step.progress(1, 1, **said.metrics())
        said.check()
