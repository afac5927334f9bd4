"""The training pipeline: labels in, a served model version out."""

from typing import TYPE_CHECKING

from components.settings import Settings
from pipelines.task_policy import apply_policy

if TYPE_CHECKING:
    from kfp.dsl.graph_component import GraphComponent


def training_pipeline(settings: Settings) -> "GraphComponent":
    """The pipeline with the images and resources of these settings.

    Its last task, the exit handler, runs also where another one has failed.

    Raises:
        BadInput: if a setting cannot be used in a pipeline.
    """
    from kfp import dsl

    from components.dataset.component import dataset
    from components.evaluation.component import gate
    from components.export.component import export
    from components.parity_gate.component import parity
    from components.registry.component import register
    from components.run_end.component import run_end
    from components.serving.component import deploy
    from components.training.component import train

    @dsl.pipeline(
        name="actverse-training",
        description=(
            "Labelled frames → dataset → train → export → parity gate → register → "
            "promotion gate → deploy"
        ),
    )
    def training(
        task_id: str,
        model_name: str,
        labels: str,
        training: str,
        held_out: float = 0.2,
        labels_digest: str = "",
    ) -> None:
        """Take a task's labelled frames to a model version, served if it beats the one that is.

        Args:
            task_id: the task whose frames and labels lie in the storage.
            model_name: the registered model that gets the new version.
            labels: a LabelSpec as JSON.
            training: TrainingSettings as JSON.
            held_out: share of the labelled frames that the model must never see.
            labels_digest: as components/dataset/labels_digest.py makes it of the labels.
        """
        ended = run_end(pipeline="training", task_id=task_id)
        with dsl.ExitHandler(ended, name="Training"):
            data = dataset(
                task_id=task_id, labels=labels, held_out=held_out, labels_digest=labels_digest
            )
            trained = train(task_id=task_id, training=training, dataset=data.outputs["dataset"])
            exported = export(
                task_id=task_id,
                run_id=trained.outputs["run_id"],
                dataset=data.outputs["dataset"],
                model=trained.outputs["model"],
            )
            proven = parity(task_id=task_id, onnx=exported.outputs["onnx"])
            registered = register(
                task_id=task_id,
                model_name=model_name,
                model=trained.outputs["model"],
                onnx=exported.outputs["onnx"],
            ).after(proven)
            gated = gate(
                task_id=task_id,
                model_name=model_name,
                version=registered.outputs["Output"],
                dataset=data.outputs["dataset"],
                onnx=exported.outputs["onnx"],
            )
            deployed = deploy(
                task_id=task_id,
                model_name=model_name,
                registered=registered.outputs["Output"],
                version=gated.outputs["Output"],
            )
        tasks = {
            "dataset": data,
            "train": trained,
            "export": exported,
            "parity": proven,
            "register": registered,
            "gate": gated,
            "deploy": deployed,
            "run_end": ended,
        }
        for name, task in tasks.items():
            apply_policy(task, name, settings)

    return training
