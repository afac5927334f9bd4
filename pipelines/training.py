"""The training pipeline: labels in, a served model version out."""

from kfp import dsl

from components.dataset.component import dataset
from components.evaluation.component import gate
from components.export.component import export
from components.registry.component import register
from components.serving.component import deploy
from components.training.component import train


@dsl.pipeline(
    name="actverse-training",
    description="Labelled frames → dataset → train → export with parity → register → gate → deploy",
)
def training_pipeline(
    task_id: str, model_name: str, labels: str, training: str, held_out: float = 0.2
) -> None:
    """Take a task's labelled frames to a model version, served if it beats the one that is.

    Args:
        task_id: the task whose frames and labels lie in the storage.
        model_name: the registered model that gets the new version.
        labels: a LabelSpec as JSON.
        training: TrainingSettings as JSON.
        held_out: share of the labelled frames that the model must never see.
    """
    data = dataset(task_id=task_id, labels=labels, held_out=held_out)
    # The labels are no argument: a cached run would not see that there are more of them.
    data.set_display_name("Dataset").set_caching_options(False)
    trained = train(task_id=task_id, training=training, dataset=data.outputs["dataset"])
    # Training and what comes after it writes to servers: a cached run would skip that.
    trained.set_display_name("Train").set_caching_options(False)
    exported = export(
        task_id=task_id, dataset=data.outputs["dataset"], model=trained.outputs["model"]
    )
    exported.set_display_name("Export and parity").set_caching_options(False)
    registered = register(
        task_id=task_id,
        model_name=model_name,
        model=trained.outputs["model"],
        onnx=exported.outputs["onnx"],
    )
    registered.set_display_name("Register").set_caching_options(False)
    gated = gate(
        task_id=task_id,
        model_name=model_name,
        version=registered.output,
        dataset=data.outputs["dataset"],
        onnx=exported.outputs["onnx"],
    )
    gated.set_display_name("Promotion gate").set_caching_options(False)
    deployed = deploy(
        task_id=task_id,
        model_name=model_name,
        registered=registered.output,
        version=gated.output,
    )
    deployed.set_display_name("Deploy").set_caching_options(False)
