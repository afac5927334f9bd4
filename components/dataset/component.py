"""The dataset step as a pipeline component."""

from kfp import dsl

from components.settings import Settings


@dsl.component(base_image=Settings().light_image, install_kfp_package=False)
def dataset(task_id: str, labels: str, held_out: float, dataset: dsl.Output[dsl.Dataset]) -> None:
    """Split a task's labelled frames into a training and a held-out block.

    Args:
        task_id: the task whose frames and labels lie in the storage.
        labels: a LabelSpec as JSON.
        held_out: share of the labelled frames that the model must never see.
        dataset: the folder with images/, labels/, data.yaml and train_test_split.txt.
    """
    from pathlib import Path

    from components.dataset.build import build_dataset
    from components.files import publish_folder
    from components.labels import LabelSpec
    from components.settings import Settings
    from components.steps import reported

    layout = Settings().layout
    with reported("dataset", layout.step_reports(task_id)) as progress:
        facts = build_dataset(
            layout.labelled_images(task_id),
            layout.labels(task_id),
            Path(dataset.path),
            LabelSpec.model_validate_json(labels),
            held_out=held_out,
            progress=progress,
        )
        publish_folder(Path(dataset.path), layout.dataset(task_id))
        dataset.metadata["digest"] = facts.digest
        progress(1, 1, **facts.model_dump(mode="json", exclude={"spec"}))
