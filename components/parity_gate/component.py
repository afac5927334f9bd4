"""The parity gate as a pipeline component."""

from kfp import dsl

from components.settings import Settings


@dsl.component(base_image=Settings().light_image, install_kfp_package=False)
def parity(
    task_id: str,
    onnx: dsl.Input[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Fail unless the export behaves like model.pt, by the report that came with it.

    A task of its own, since Kubeflow stores no artifact of a step that has failed: so the
    export's report is there to be read also where it tells of a miss.

    Args:
        task_id: whose step report is kept.
        onnx: the folder with model.onnx and parity.json.
        metrics: the figures of the comparison.
    """
    from pathlib import Path

    from components.parity_gate.parity_gate import require_parity
    from components.pipeline_step import pipeline_step

    with pipeline_step("parity", task_id) as step:
        facts = require_parity(Path(onnx.path)).facts()
        for name, value in facts.items():
            if not isinstance(value, str):
                metrics.log_metric(name, value)
        step.progress(1, 1, **facts)
