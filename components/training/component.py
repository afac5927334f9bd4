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
) -> None:
    """Train the user's model; every epoch goes to the tracking server.

    Args:
        task_id: names the run.
        training: TrainingSettings as JSON.
        dataset: as the dataset step made it.
        model: the folder with model.pt and training.json.
        metrics: the metrics on the held-out block.
    """
    from pathlib import Path

    from components.files import publish_file
    from components.settings import Settings
    from components.steps import reported
    from components.training.settings import TrainingSettings
    from components.training.train import Tracking
    from components.training.train import train as train_model

    settings = Settings()
    with reported("train", settings.layout.step_reports(task_id)) as progress:
        result = train_model(
            Path(dataset.path),
            Path(model.path),
            TrainingSettings.model_validate_json(training),
            tracking=Tracking(
                uri=settings.mlflow_uri,
                experiment="actverse",
                run_name=task_id,
                tags={"task_id": task_id},
            ),
            progress=progress,
        )
        publish_file(Path(model.path) / "model.pt", settings.layout.train_log(task_id) / "model.pt")
        for name, value in result.metrics.items():
            metrics.log_metric(name, value)
        model.metadata["run_id"] = result.run_id
        model.framework = "ultralytics"
        progress(
            1,
            1,
            run_id=result.run_id,
            metrics=result.metrics,
            start=result.start,
            start_reason=result.start_reason,
        )
