"""The export step, with its parity gate, as a pipeline component."""

from kfp import dsl

from components.settings import Settings


@dsl.component(base_image=Settings().pipeline_image, install_kfp_package=False)
def export(
    task_id: str,
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    onnx: dsl.Output[dsl.Model],
    report: dsl.Output[dsl.Markdown],
):
    """Make the self-contained ONNX file and prove that it behaves like model.pt.

    Args:
        task_id: whose step report is kept.
        dataset: its held-out frames are the proof.
        model: the folder with model.pt and training.json.
        onnx: the folder with model.onnx, parity.json and parity_set/.
        report: the parity report.
    """
    from pathlib import Path

    from components.dataset.facts import read_dataset
    from components.export.export import export_model
    from components.settings import Settings
    from components.steps import reported
    from components.training.result import read_training

    layout = Settings().layout
    with reported("export", layout.step_reports(task_id)) as progress:
        trained = read_training(Path(model.path))
        exported = export_model(
            Path(model.path) / "model.pt",
            Path(dataset.path),
            Path(onnx.path),
            read_dataset(Path(dataset.path)).spec,
            imgsz=trained.imgsz,
            progress=progress,
        )
        Path(report.path).parent.mkdir(parents=True, exist_ok=True)
        Path(report.path).write_text((Path(onnx.path) / "parity.md").read_text())
        onnx.framework = "onnx"
        progress(1, 1, parity=exported.parity_facts())
