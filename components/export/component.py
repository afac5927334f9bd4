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

    from components.export.export_once import export_once
    from components.export.parity_page import parity_page
    from components.files import write_text
    from components.pipeline_step import pipeline_step
    from components.registry.pages import log_pages, run_page
    from components.training.result import read_training

    with pipeline_step("export", task_id) as step:
        trained = read_training(Path(model.path))
        exported = export_once(
            step,
            task_id,
            Path(model.path) / "model.pt",
            Path(dataset.path),
            Path(onnx.path),
            imgsz=trained.imgsz,
        )
        url = run_page(trained.run_id, step.settings)
        markdown, page = exported.markdown(), parity_page(exported, run_url=url)
        write_text(Path(report.path), markdown)
        write_text(Path(parity.path), page)
        log_pages(trained.run_id, {"parity.md": markdown, "parity.html": page}, step.settings)
        onnx.framework = "onnx"
        onnx.metadata |= {"run_id": trained.run_id, "mlflow_run": url}
        file = Path(onnx.path) / "model.onnx"
        step.progress(1, 1, file=file.name, bytes=file.stat().st_size)
