"""The dataset step as a pipeline component."""

from kfp import dsl

from components.settings import Settings


@dsl.component(base_image=Settings().light_image, install_kfp_package=False)
def dataset(
    task_id: str,
    labels: str,
    held_out: float,
    labels_digest: str,
    dataset: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Split a task's labelled frames into a training and a held-out block.

    Args:
        task_id: the task whose frames and labels lie in the storage.
        labels: a LabelSpec as JSON.
        held_out: share of the labelled frames that the model must never see.
        labels_digest: changes with the labels and their images, which are no arguments, so
            that a cached dataset is never one of other labels.
        dataset: the folder with images/, labels/, data.yaml and train_test_split.txt.
        metrics: how many images the blocks have, and how alike they are.
    """
    from pathlib import Path

    from components.dataset.build import build_dataset
    from components.dataset.labels_digest import check_known
    from components.files import publish_folder
    from components.labels import LabelSpec
    from components.pipeline_step import pipeline_step

    with pipeline_step("dataset", task_id) as step:
        check_known(labels_digest, step.settings)
        layout, storage = step.layout, step.storage
        storage.bring(layout.labels(task_id))
        images = layout.labelled_images(task_id)
        storage.bring(images)
        facts = build_dataset(
            images,
            layout.labels(task_id),
            Path(dataset.path),
            LabelSpec.model_validate_json(labels),
            held_out=held_out,
            progress=step.progress,
        )
        publish_folder(Path(dataset.path), layout.dataset(task_id))
        storage.keep(layout.dataset(task_id))
        dataset.metadata["digest"] = facts.digest
        for name in ("train", "held_out", "dropped", "unlabelled", "leak"):
            metrics.log_metric(name, getattr(facts, name))
        step.progress(1, 1, **facts.model_dump(mode="json", exclude={"spec"}))
