"""The training step as a pipeline component."""

from kfp import dsl

from components.settings import Settings


@dsl.component(base_image=Settings().trainer_image, install_kfp_package=False)
def train(
    task_id: str,
    training: str,
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    run_id: dsl.OutputPath(str),  # type: ignore[valid-type]
) -> None:
    """Train the user's model; every epoch goes to the tracking server.

    Args:
        task_id: names the run.
        training: TrainingSettings as JSON.
        dataset: as the dataset step made it.
        model: the folder with model.pt and training.json.
        metrics: the metrics on the held-out block.
        run_id: takes the id of the training's run.
    """
    from pathlib import Path

    from components.files import publish_file
    from components.pipeline_step import pipeline_step
    from components.training.settings import TrainingSettings
    from components.training.stored_weights import bring_weights
    from components.training.train import Tracking
    from components.training.train import train as train_model

    with pipeline_step("train", task_id) as step:
        wanted = TrainingSettings.model_validate_json(training)
        weights = bring_weights(wanted.weights, step.storage)
        result = train_model(
            Path(dataset.path),
            Path(model.path),
            wanted.model_copy(update={"weights": weights}),
            tracking=Tracking(
                uri=step.settings.mlflow_uri,
                experiment="actverse",
                run_name=task_id,
                tags={"task_id": task_id},
            ),
            progress=step.progress,
        )
        kept = step.layout.train_log(task_id) / "model.pt"
        publish_file(Path(model.path) / "model.pt", kept)
        step.storage.keep(kept)
        for name, value in result.metrics.items():
            metrics.log_metric(name, value)
        model.metadata["run_id"] = result.run_id
        Path(run_id).write_text(result.run_id, encoding="utf-8")
        model.framework = "ultralytics"
        step.progress(
            1,
            1,
            run_id=result.run_id,
            metrics=result.metrics,
            start=result.start,
            start_reason=result.start_reason,
        )
