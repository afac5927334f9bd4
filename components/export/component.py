"""The export step as a pipeline component."""

from kfp import dsl

from components.settings import Settings


@dsl.component(base_image=Settings().trainer_image, install_kfp_package=False)
def export(
    task_id: str,
    run_id: str,
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    onnx: dsl.Output[dsl.Model],
    report: dsl.Output[dsl.Markdown],
    parity: dsl.Output[dsl.HTML],
) -> None:
    """Make the self-contained ONNX file and compare it with model.pt.

    Whether it behaves like that is for the parity gate to say.

    Args:
        task_id: whose step report is kept.
        run_id: of the training. Kubeflow's cache knows the model by it: of an artifact it
            looks at the name alone, which is the same for every model.
        dataset: its held-out frames are the proof.
        model: the folder with model.pt and training.json.
        onnx: the folder with model.onnx, parity.json and parity_set/.
        report: the parity report.
        parity: the same, with every frame's differences drawn.
    """
    from pathlib import Path

    from components.dataset.facts import read_dataset
    from components.export.export import export_model
    from components.export.parity_page import parity_page
    from components.files import write_text
    from components.pipeline_step import pipeline_step
    from components.registry.pages import log_pages, run_page
    from components.training.result import read_training

    with pipeline_step("export", task_id) as step:
        trained = read_training(Path(model.path))
        exported = export_model(
            Path(model.path) / "model.pt",
            Path(dataset.path),
            Path(onnx.path),
            read_dataset(Path(dataset.path)).spec,
            imgsz=trained.imgsz,
            keep_missed=True,
            progress=step.progress,
        )
        url = run_page(trained.run_id, step.settings)
        markdown, page = exported.report.markdown(), parity_page(exported.report, run_url=url)
        write_text(Path(report.path), markdown)
        write_text(Path(parity.path), page)
        log_pages(trained.run_id, {"parity.md": markdown, "parity.html": page}, step.settings)
        onnx.framework = "onnx"
        onnx.metadata |= {"run_id": trained.run_id, "mlflow_run": url}
        step.progress(1, 1, file=exported.model.name, bytes=exported.model.stat().st_size)
