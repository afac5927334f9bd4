"""The very same file gives the same findings in OpenVINO, in the environment Triton runs in."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from components.detections import Tolerance, compare
from components.letterbox import Letterbox
from components.onnx_model import OnnxModel
from components.served_model import model_inputs, read_outputs
from tests.helpers.checkpoints import IMGSZ, held_out_frame

PYTHON = Path(__file__).parents[3] / ".venv-triton" / "bin" / "python"
pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-triton: run make setup")

_RUN = """
import sys
import numpy as np
import openvino as ov

model, feeds, answers, precision = sys.argv[1:]
config = {"INFERENCE_PRECISION_HINT": precision} if precision else {}
compiled = ov.Core().compile_model(model, "CPU", config)
with np.load(feeds) as data:
    calls = int(data["calls"])
    for call in range(calls):
        keys = ("images", "confidence", "iou")
        answer = compiled({key: data[f"{key}_{call}"] for key in keys})
        named = {output.get_any_name(): answer[output] for output in compiled.outputs}
        np.savez(f"{answers}_{call}.npz", **named)
"""


@pytest.mark.parametrize(
    ("task", "precision", "tolerance"),
    [
        ("detect", "f32", Tolerance(box_px=0.05, score=0.001, keypoint_px=0.05)),
        ("pose", "f32", Tolerance(box_px=0.05, score=0.001, keypoint_px=0.05)),
    ],
)
def test_openvino_finds_the_same(exported, tmp_path, task, precision, tolerance):
    model = exported[task].model
    # Batches, sizes, thresholds, and one call that finds nothing.
    calls = [
        ((IMGSZ, IMGSZ), 1, 0.25, 0.7),
        ((160, 96), 3, 0.25, 0.7),
        ((64, 128), 2, 0.5, 0.3),
        ((IMGSZ, IMGSZ), 2, 0.9999999, 0.7),
    ]
    feeds, batches = {}, []
    for call, (wh, batch, confidence, iou) in enumerate(calls):
        images = np.stack([held_out_frame(905 + i, wh) for i in range(batch)])
        batches.append((images, confidence, iou))
        named = model_inputs(images, confidence=confidence, iou=iou)
        feeds |= {f"{key}_{call}": value for key, value in named.items()}
    np.savez(tmp_path / "feeds.npz", calls=len(calls), **feeds)
    command = [PYTHON, "-c", _RUN, model, tmp_path / "feeds.npz", tmp_path / "answer", precision]
    subprocess.run(list(map(str, command)), check=True, timeout=120)
    served = OnnxModel(model)
    counts = []
    for call, (images, confidence, iou) in enumerate(batches):
        with np.load(tmp_path / f"answer_{call}.npz") as answer:
            outputs = dict(answer)
        expected = served.infer(images, confidence=confidence, iou=iou)
        for name, tensor in expected.items():
            assert outputs[name].dtype == tensor.dtype
            assert outputs[name].shape == tensor.shape
        height, width = images.shape[1:3]
        letterbox = Letterbox.of((width, height), max(height, width))
        pairs = zip(
            read_outputs(expected, letterbox), read_outputs(outputs, letterbox), strict=True
        )
        comparisons = [
            compare(one, other, confidence=confidence, tolerance=tolerance) for one, other in pairs
        ]
        assert all(comparison.within(tolerance) for comparison in comparisons), comparisons
        counts.append(sum(comparison.matched for comparison in comparisons))
    assert min(counts[:2]) > 0
    assert counts[3] < counts[1]
