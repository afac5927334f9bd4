import hashlib
import json
import pickle
import zipfile

import numpy as np
import onnx
import pytest

from components.errors import BadInput, NotFound, ParityFailed
from components.export import export
from components.export.export import export_model
from components.export.parity_report import ParityReport
from components.labels import LabelSpec
from components.onnx_model import OnnxModel
from components.parity_gate.parity_gate import require_parity
from components.parity_set import ParitySet
from tests.helpers.checkpoints import IMGSZ, SIZES, SPECS, held_out_frame, write_checkpoint


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("task", ["detect", "pose"])
def test_the_folder_holds_model_report_and_parity_set(exported, task):
    result = exported[task]
    out = result.model.parent
    frames = [f"parity_set/frame_{i}.png" for i in range(len(SIZES))]
    assert files_in(out) == sorted(
        ["model.onnx", "parity.json", "parity.md", "parity_set/expected.json", *frames]
    )
    text = (out / "parity.json").read_text()
    assert ParityReport.model_validate_json(text) == result.report
    assert json.loads(text)["box_error"] == result.report.box_error
    page = (out / "parity.md").read_text()
    assert "8 held-out frames" in page
    assert "passed" in page
    assert "| frame_000003.png | 120 x 200 |" in page
    assert result.report.facts()["matched"] == result.report.matched
    assert OnnxModel(result.model).card.labels == SPECS[task]


@pytest.mark.parametrize("task", ["detect", "pose"])
def test_the_parity_set_is_what_the_file_finds_in_real_frames(exported, task):
    served = OnnxModel(exported[task].model)
    parity_set = ParitySet.read(exported[task].parity_set)
    assert (parity_set.confidence, parity_set.iou) == (0.25, 0.7)
    for number, frame in enumerate(parity_set):
        expected = held_out_frame(901 + number, SIZES[number])
        np.testing.assert_array_equal(frame.frame_bgr, expected)
        assert len(frame.expected) > 0
        (found,) = served.detect([frame.frame_bgr])
        np.testing.assert_allclose(frame.expected.xyxy, found.xyxy, atol=1e-4)
        np.testing.assert_allclose(frame.expected.keypoints, found.keypoints, atol=1e-4)


def test_nothing_appears_beside_the_checkpoint_or_in_the_working_folder(
    checkpoints, datasets, tmp_path, monkeypatch
):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    model_pt = checkpoints["detect"]
    before = hashlib.sha256(model_pt.read_bytes()).hexdigest()
    seen = []
    result = export_model(
        model_pt,
        datasets["detect"],
        tmp_path / "out",
        SPECS["detect"],
        imgsz=IMGSZ - 10,
        progress=lambda done, total, **facts: seen.append((done, total)),
    )
    assert result.card.imgsz == IMGSZ  # raised to a multiple of the stride
    assert files_in(model_pt.parent) == ["model.pt"]
    assert hashlib.sha256(model_pt.read_bytes()).hexdigest() == before
    assert files_in(work) == []
    assert files_in(tmp_path / "tmp") == []
    assert seen[-1] == (8, 8)


@pytest.mark.parametrize("architecture", ["yolov8n-pose", "yolo26n", "yolo26n-pose"])
def test_other_architectures_pass_the_gate_too(architecture, datasets, tmp_path):
    task = "pose" if "pose" in architecture else "detect"
    model_pt = write_checkpoint(tmp_path / "model.pt", architecture)
    result = export_model(
        model_pt, datasets[task], tmp_path / "out", SPECS[task], imgsz=IMGSZ, opset=18
    )
    assert result.report.matched > 20
    assert onnx.load(result.model).opset_import[0].version == 18


@pytest.fixture
def turned_colours(monkeypatch):
    """Exports take BGR for RGB."""

    def turned(plain, card):
        model = export_graft(plain, card)
        (order,) = [node for node in model.graph.node if "rgb_order" in node.output]
        order.attribute[0].t.int64_data[:] = [0, 1, 2]
        return model

    export_graft = export.graft
    monkeypatch.setattr(export, "graft", turned)


@pytest.mark.usefixtures("turned_colours")
def test_an_export_that_misses_leaves_the_older_one_and_carries_its_report(
    checkpoints, datasets, tmp_path
):
    out = tmp_path / "out"
    out.mkdir()
    (out / "older").write_text("stays")
    with pytest.raises(ParityFailed, match=r"frame_00000\d\.png: .* do not serve it") as caught:
        export_model(checkpoints["detect"], datasets["detect"], out, SPECS["detect"], imgsz=IMGSZ)
    assert files_in(tmp_path) == ["out/older"]
    report = caught.value.report
    assert not report.passed
    assert report.fault in str(caught.value)
    assert "**failed**" in report.markdown()


@pytest.mark.usefixtures("turned_colours")
def test_an_export_that_misses_is_kept_for_its_report_if_that_is_wanted(
    checkpoints, datasets, tmp_path
):
    out = tmp_path / "out"
    missed = export_model(
        checkpoints["detect"],
        datasets["detect"],
        out,
        SPECS["detect"],
        imgsz=IMGSZ,
        keep_missed=True,
    )
    assert not missed.report.passed
    assert files_in(out) == ["model.onnx", "parity.json", "parity.md"]
    assert "**failed**: frame_0" in (out / "parity.md").read_text()
    with pytest.raises(ParityFailed, match=r"frame_00000\d\.png: .* do not serve it") as caught:
        require_parity(out)
    assert caught.value.report == missed.report


def test_an_export_that_passes_goes_through_the_gate(exported):
    result = exported["pose"]
    assert require_parity(result.model.parent) == result.report


def test_a_model_of_other_classes_or_task_is_refused(checkpoints, datasets, tmp_path):
    other = LabelSpec(task="detect", names=("green", "red"))
    for model, spec in (("detect", other), ("detect", SPECS["pose"]), ("pose", SPECS["detect"])):
        with pytest.raises(BadInput, match="train the model on this data set"):
            export_model(checkpoints[model], datasets["detect"], tmp_path / "out", spec, imgsz=96)
    assert not (tmp_path / "out").exists()


def test_a_missing_model_is_said_so(datasets, tmp_path):
    with pytest.raises(NotFound, match=r"no trained model .*gone\.pt"):
        export_model(tmp_path / "gone.pt", datasets["detect"], tmp_path, SPECS["detect"], imgsz=96)


def test_a_file_that_is_no_checkpoint_is_refused_and_its_code_never_runs(datasets, tmp_path):
    ran = tmp_path / "ran"

    class Writes:
        def __reduce__(self):
            return (open, (str(ran), "w"))

    contents = [b"", b"no checkpoint", pickle.dumps(Writes(), protocol=2)]
    for number, content in enumerate(contents):
        path = tmp_path / f"bad_{number}.pt"
        path.write_bytes(content)
        refused(path, datasets, tmp_path)
    path = tmp_path / "bad_zip.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"model": Writes()}, protocol=2))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    refused(path, datasets, tmp_path)
    assert not ran.exists()


def refused(path, datasets, tmp_path):
    with pytest.raises(BadInput, match="that Ultralytics wrote"):
        export_model(path, datasets["detect"], tmp_path / "out", SPECS["detect"], imgsz=96)
