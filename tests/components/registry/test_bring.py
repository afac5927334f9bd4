"""A user's own ONNX file on its way into a real registry, and from there into a real Triton."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from mlflow import MlflowClient
from onnx import TensorProto, helper

from components.dataset.build import build_dataset
from components.dataset.facts import read_dataset
from components.errors import ActverseError, BadInput, NotFound
from components.export.graft import graft
from components.labels import FrameLabels, format_yolo_labels
from components.onnx_model import OnnxModel
from components.parity_set import ParitySet
from components.registry.bring import register_file, training_run
from components.registry.download import download_version
from components.registry.tags import read_state
from components.served_model import ModelCard
from components.serving.promote import Promoter
from components.steps import reported
from tests.helpers.exports import boxes_of, finished_run
from tests.helpers.servers import TritonServer
from tests.helpers.tiny_onnx import SPECS, draw_frame, plain_tiny_model, write_tiny_model

WH = (160, 120)


def write_dataset(folder: Path, task: str = "detect") -> Path:
    """A dataset of blobs: its last two of ten frames are held out."""
    spec = SPECS[task]
    frames = folder / "frames"
    frames.mkdir(parents=True)
    for seed in range(10):
        image, blobs = draw_frame(WH, seed=seed)
        corners = np.asarray([blob.xyxy for blob in blobs], np.float32).reshape(-1, 2, 2)
        corners /= np.asarray(WH, np.float32)
        sides = corners[:, 1] - corners[:, 0]
        labels = FrameLabels(
            np.asarray([blob.class_id for blob in blobs]),
            np.hstack([corners.mean(axis=1), sides]),
            np.zeros((len(blobs), len(spec.keypoints), 3), np.float32),
        )
        cv2.imwrite(str(frames / f"frame_{seed:06d}.png"), image)
        (frames / f"frame_{seed:06d}.txt").write_text(format_yolo_labels(labels))
    build_dataset(frames, frames, folder / "data", spec)
    return folder / "data"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("blobs"))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A file that is fit to be served."""
    write_tiny_model(tmp_path / "own.onnx", seed=3)
    return tmp_path / "own.onnx"


@pytest.fixture
def bring(mlflow_server: str, dataset: Path) -> Callable[..., int]:
    def register(file: Path, name: str, dataset: Path = dataset) -> int:
        return register_file(
            file,
            name=name,
            dataset=dataset,
            run_id=finished_run(mlflow_server),
            tracking_uri=mlflow_server,
            tags={"task_id": "t1"},
        )

    return register


def test_a_users_file_is_registered_with_a_proof_of_its_own(
    own: Path, dataset: Path, bring: Callable[..., int], mlflow_server: str, tmp_path: Path
):
    version = bring(own, "brought")
    files = download_version("brought", version, tmp_path / "down", mlflow_server)
    assert files.onnx.read_bytes() == own.read_bytes()
    proof = ParitySet.read(files.parity_set)
    held_out = sorted((dataset / "images" / "val").iterdir())
    assert len(proof.frames) == len(held_out) == 2
    assert proof.confidence == 0.25
    model = OnnxModel(own)
    for frame, path in zip(proof, held_out, strict=True):
        assert (frame.frame_bgr == cv2.imread(str(path))).all()
        (found,) = model.detect([frame.frame_bgr], confidence=0.25, iou=proof.iou)
        assert len(found) == 2
        assert frame.expected.to_json() == found.to_json()

    client = MlflowClient(mlflow_server)
    made = client.get_model_version("brought", str(version))
    assert made.tags["task_id"] == "t1"
    assert made.tags["origin"] == "a user's file"
    assert made.tags["dataset.digest"] == read_dataset(dataset).digest
    assert made.tags["onnx.sha256"] == hashlib.sha256(own.read_bytes()).hexdigest()
    (output,) = client.get_run(made.run_id).outputs.model_outputs
    assert not client.get_logged_model(output.model_id).metrics
    assert bring(own, "brought") == version


def test_it_is_promoted_like_any_other(
    triton: TritonServer, mlflow_server: str, bring: Callable[..., int], tmp_path: Path
):
    dataset = write_dataset(tmp_path / "pose", "pose")
    write_tiny_model(tmp_path / "model.onnx", task="pose", seed=5)
    version = bring(tmp_path / "model.onnx", "brought_and_served", dataset)
    settings = triton.settings.model_copy(update={"mlflow_uri": mlflow_server})
    assert Promoter(settings).promote("brought_and_served", version).changed
    seen = read_state("brought_and_served", version, tracking_uri=mlflow_server)
    assert seen.state == "ready"
    assert boxes_of(tmp_path)


def test_a_shy_model_is_proven_at_a_lower_confidence(
    own: Path, bring: Callable[..., int], mlflow_server: str, tmp_path: Path
):
    """Its best scores lie at some 0.06."""
    plain = plain_tiny_model()
    for node in plain.graph.node:
        if node.output[0] == "class_scores":
            node.output[0] = "sure"
            at = list(plain.graph.node).index(node)
    tenth = helper.make_tensor("part", TensorProto.FLOAT, [], [0.06])
    plain.graph.initializer.append(tenth)
    plain.graph.node.insert(at + 1, helper.make_node("Mul", ["sure", "part"], ["class_scores"]))
    onnx.save(graft(plain, ModelCard(labels=SPECS["detect"], imgsz=96)), own)
    version = bring(own, "shy")
    files = download_version("shy", version, tmp_path / "down", mlflow_server)
    proof = ParitySet.read(files.parity_set)
    assert proof.confidence == 0.05
    assert all(len(frame.expected) for frame in proof)


def changed(output: str, *operators: tuple[str, list[float]], kind: int = TensorProto.FLOAT):
    """Gives a change to a file: operators, each with a constant, put behind an output."""

    def spoil(model: onnx.ModelProto) -> None:
        inner = f"inner_{output}"
        for node in model.graph.node:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    names[place] = inner if name == output else name
        for number, (operator, values) in enumerate(operators):
            last = number == len(operators) - 1
            constant, after = f"constant_{output}_{number}", f"{inner}_{number}"
            model.graph.initializer.append(
                helper.make_tensor(constant, kind, [len(values)] if len(values) > 1 else [], values)
            )
            after = output if last else after
            model.graph.node.append(helper.make_node(operator, [inner, constant], [after]))
            inner = after

    return spoil


def batch_moves_boxes(model: onnx.ModelProto) -> None:
    """All boxes lie 3 px further for each frame more in the batch."""
    changed("boxes", ("Add", [0.0]))(model)
    graph = model.graph
    graph.initializer.append(helper.make_tensor("first", TensorProto.INT64, [], [0]))
    graph.initializer.append(helper.make_tensor("three", TensorProto.FLOAT, [], [3.0]))
    add = graph.node.pop()
    graph.node.extend(
        [
            helper.make_node("Shape", ["images"], ["shape_of_images"]),
            helper.make_node("Gather", ["shape_of_images", "first"], ["batch_size"]),
            helper.make_node("Cast", ["batch_size"], ["batch_float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["batch_float", "three"], ["moved"]),
            helper.make_node("Add", [add.input[0], "moved"], ["boxes"]),
        ]
    )


def other_type(model: onnx.ModelProto) -> None:
    changed("classes", ("Add", [0]), kind=TensorProto.INT32)(model)
    inner = model.graph.node.pop().input[0]
    model.graph.node.append(helper.make_node("Cast", [inner], ["classes"], to=TensorProto.INT64))
    for value in model.graph.output:
        if value.name == "classes":
            value.type.tensor_type.elem_type = TensorProto.INT64


def too_many(model: onnx.ModelProto) -> None:
    for output, times in {"boxes": [1, 200, 1], "scores": [1, 200], "classes": [1, 200]}.items():
        changed(output, ("Tile", times), kind=TensorProto.INT64)(model)


def other_classes(model: onnx.ModelProto) -> None:
    recard(
        model,
        ModelCard(labels=SPECS["detect"].model_copy(update={"names": ("cat", "dog")}), imgsz=96),
    )


def other_task(model: onnx.ModelProto) -> None:
    card = ModelCard(labels=SPECS["pose"], imgsz=96)
    model.CopyFrom(graft(plain_tiny_model(task="pose"), card))


def huge_input(model: onnx.ModelProto) -> None:
    recard(model, ModelCard(labels=SPECS["detect"], imgsz=10**6))


def recard(model: onnx.ModelProto, card: ModelCard) -> None:
    (entry,) = (entry for entry in model.metadata_props if entry.key == "actverse.card")
    entry.value = card.model_dump_json()


def weights_outside(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")
    tensor.ClearField("raw_data")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (weights_outside, "outside of itself"),
        (other_classes, r"classes \['cat', 'dog'\]; the task's labels are for detect, classes"),
        (other_task, "is for pose"),
        (huge_input, "input of 1000000 pixels"),
        (changed("boxes", ("Reshape", [1, 7919, 4]), kind=TensorProto.INT64), "cannot be run on 1"),
        (other_type, "classes is int64"),
        (changed("boxes", ("Reshape", [1, -1, 4]), kind=TensorProto.INT64), "boxes is float32"),
        (changed("boxes", ("Mul", [0.0]), ("Div", [0.0])), "boxes holds what is not a number"),
        (too_many, "at most 300"),
        (changed("scores", ("Mul", [2.0])), "score lies outside"),
        (changed("scores", ("Mul", [0.2])), "not dropped"),
        (changed("scores", ("Mul", [-1.0]), ("Add", [1.0])), "best first"),
        (changed("classes", ("Add", [2]), kind=TensorProto.INT32), "does not name"),
        (changed("scores", ("Mul", [0.0])), "finds nothing in any"),
        (batch_moves_boxes, "another in a batch"),
    ],
)
def test_a_file_that_is_not_fit_is_refused_and_not_registered(
    own: Path,
    bring: Callable[..., int],
    mlflow_server: str,
    spoil: Callable[[onnx.ModelProto], None],
    sentence: str,
):
    model = onnx.load(own)
    spoil(model)
    own.write_bytes(model.SerializeToString())
    with pytest.raises(BadInput, match=sentence) as refused:
        bring(own, "unfit")
    assert "own.onnx" in str(refused.value)
    assert "actverse-bring" not in str(refused.value)
    assert MlflowClient(mlflow_server).search_registered_models("name = 'unfit'") == []


@pytest.mark.parametrize(
    ("file", "error", "sentence"),
    [
        ("model.pt", BadInput, r"model\.pt .* can run code"),
        ("MODEL.PT", BadInput, "can run code"),
        ("model.engine", BadInput, "ends in .onnx"),
        ("renamed.onnx", BadInput, "not a whole ONNX file"),
        ("gone.onnx", NotFound, "upload it first"),
    ],
)
def test_what_is_no_onnx_file_is_refused(
    dataset: Path, tmp_path: Path, file: str, error: type[ActverseError], sentence: str
):
    if not file.startswith("gone"):
        (tmp_path / file).write_bytes(b"PK\x03\x04 a pickle in a zip")
    with pytest.raises(error, match=sentence):
        register_file(
            tmp_path / file,
            name="unfit",
            dataset=dataset,
            run_id="",
            tracking_uri="http://127.0.0.1:9",
            tags={},
        )


def test_a_task_without_dataset_or_training_is_not_found(
    own: Path, bring: Callable[..., int], tmp_path: Path
):
    with pytest.raises(NotFound, match="No dataset"):
        bring(own, "early", tmp_path)
    reports = tmp_path / "steps"
    with pytest.raises(NotFound, match="No finished training"):
        training_run(reports)
    with reported("dataset", reports) as progress:
        progress(1, 1, run_id="not this")
    with reported("train", reports), pytest.raises(NotFound, match="No finished training"):
        training_run(reports)
    with reported("train", reports) as progress:
        progress(1, 1, run_id="r7", metrics={})
    assert training_run(reports) == "r7"
