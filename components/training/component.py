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
    curves: dsl.Output[dsl.HTML],
    samples: dsl.Output[dsl.HTML],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    summary: dsl.Output[dsl.Markdown],
    run_id: dsl.OutputPath(str),  # type: ignore[valid-type]
) -> None:
    """Train the user's model; every epoch goes to the tracking server.

    Args:
        task_id: names the run.
        training: TrainingSettings as JSON.
        dataset: as the dataset step made it.
        model: the folder with model.pt and training.json.
        metrics: the metrics on the held-out block.
        curves: losses and metrics by epoch.
        samples: held-out frames with labels beside findings.
        confusion: which class was taken for which in the held-out frames.
        summary: the way to the run in MLflow.
        run_id: takes the id of the training's run.
    """
    from pathlib import Path

    from components.evaluation.held_out import LEAST_CONFIDENCE, look_at_held_out
    from components.evaluation.samples import samples_page
    from components.export.reference import TrainedModel
    from components.files import publish_file, write_text
    from components.pipeline_step import pipeline_step
    from components.registry.pages import log_pages, run_page
    from components.training.curves import curves_page, read_history
    from components.training.settings import TrainingSettings
    from components.training.stored_weights import bring_weights
    from components.training.summary import training_markdown, training_metrics
    from components.training.train_once import train_once

    with pipeline_step("train", task_id) as step:
        wanted = TrainingSettings.model_validate_json(training)
        result = train_once(
            step,
            task_id,
            wanted.model_copy(update={"weights": bring_weights(wanted.weights, step.storage)}),
            Path(dataset.path),
            Path(model.path),
        )
        kept = step.layout.train_log(task_id) / "model.pt"
        publish_file(Path(model.path) / "model.pt", kept)
        step.storage.keep(kept)
        for name, value in training_metrics(result).items():
            metrics.log_metric(name, value)
        trained = TrainedModel(Path(model.path) / "model.pt", result.spec, result.imgsz)
        look = look_at_held_out(
            lambda frame: trained.detect(frame, confidence=LEAST_CONFIDENCE, iou=0.7),
            Path(dataset.path),
            result.spec,
        )
        confusion.log_confusion_matrix(list(look.confusion.categories), look.confusion.rows())
        url = run_page(result.run_id, step.settings)
        pages = {
            "training.html": curves_page(result, read_history(Path(model.path)), run_url=url),
            "held_out.html": samples_page(look, result.spec.names, run_url=url),
        }
        write_text(Path(curves.path), pages["training.html"])
        write_text(Path(samples.path), pages["held_out.html"])
        write_text(Path(summary.path), training_markdown(result, run_url=url))
        log_pages(result.run_id, pages, step.settings)
        for artifact in (model, summary):
            artifact.metadata |= {"run_id": result.run_id, "mlflow_run": url}
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
