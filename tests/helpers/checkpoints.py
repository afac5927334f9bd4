"""Checkpoints whose findings truly depend on the frame, and held-out frames of many sizes.

Raw random weights hardly react to their input, and a training takes its time. So random
weights are calibrated instead: the batch norms take their statistics from real frames,
which gives every layer outputs of unit size, and the head is scaled until a handful of
boxes of all sizes stand out in each frame.
"""

from pathlib import Path

import cv2
import numpy as np
import yaml

from components.ultralytics_env import prepare
from tests.helpers.tiny_onnx import SPECS, draw_frame

IMGSZ = 96
SIZES = [(96, 96), (160, 120), (192, 108), (120, 200), (77, 131), (320, 180)]


def held_out_frame(number: int, source_wh: tuple[int, int]) -> np.ndarray:
    """Blobs on coarse coloured noise, so that all of the frame is worth seeing."""
    width, height = source_wh
    rng = np.random.default_rng(number)
    frame, _ = draw_frame(source_wh, seed=number, blobs=3)
    coarse = rng.integers(0, 256, (height // 12 + 1, width // 12 + 1, 3), dtype=np.uint8)
    noise = cv2.resize(coarse, source_wh, interpolation=cv2.INTER_CUBIC)
    return cv2.addWeighted(frame, 0.5, noise, 0.5, 0)


def write_held_out(folder: Path, task: str, sizes: list[tuple[int, int]]) -> Path:
    """A dataset's held-out half, as ``components/dataset`` lays it out."""
    images = folder / "images" / "val"
    images.mkdir(parents=True)
    for number, wh in enumerate(sizes):
        cv2.imwrite(str(images / f"frame_{number:06d}.png"), held_out_frame(901 + number, wh))
    names = list(SPECS[task].names)
    (folder / "data.yaml").write_text(yaml.safe_dump({"val": "images/val", "names": names}))
    return folder


def write_checkpoint(path: Path, architecture: str, *, seed: int = 0, above: float = 0.25) -> Path:
    """A model.pt of ``yolo11n``, ``yolo11n-pose`` … with reacting weights.

    Args:
        path: the file.
        architecture: one of Ultralytics' own.
        seed: of the weights.
        above: the score that some 20 anchors of a frame reach.
    """
    prepare()
    import torch
    from ultralytics.nn.tasks import DetectionModel, PoseModel

    torch.manual_seed(seed)
    spec = SPECS["pose" if "pose" in architecture else "detect"]
    classes = len(spec.names)
    if spec.task == "pose":
        shape = [len(spec.keypoints), 3]
        model = PoseModel(f"{architecture}.yaml", nc=classes, data_kpt_shape=shape, verbose=False)
    else:
        model = DetectionModel(f"{architecture}.yaml", nc=classes, verbose=False)
    model.names = dict(enumerate(spec.names))
    frames = np.stack([held_out_frame(900 + i, (IMGSZ, IMGSZ)) for i in range(64)])
    pixels = torch.from_numpy(frames[..., ::-1].transpose(0, 3, 1, 2).copy()).float() / 255
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = None  # the statistics are the plain mean of what is seen
            norm.reset_running_stats()
        model.train()
        model(pixels)
        for norm in norms:
            norm.momentum = 0.03
        model.eval()
        _spread_head(model, pixels, above)
    torch.save(
        {"model": model.half(), "train_args": {"imgsz": IMGSZ, "task": spec.task}, "epoch": -1},
        path,
    )
    return path


def _spread_head(model, pixels, above: float) -> None:
    """Make sides, class scores and key points vary from anchor to anchor and frame to frame."""
    import torch

    head = model.model[-1]
    answers: dict[torch.nn.Module, torch.Tensor] = {}
    layers = {"sides": [branch[-1] for branch in head.cv2]}
    layers["scores"] = [branch[-1] for branch in head.cv3]
    layers["points"] = [*getattr(head, "cv4_kpts", [b[-1] for b in getattr(head, "cv4", [])])]
    hooks = [
        layer.register_forward_hook(lambda layer, _, out: answers.update({layer: out}))
        for group in layers.values()
        for layer in group
    ]
    model(pixels)
    for hook in hooks:
        hook.remove()
    for group, spread in (("sides", 2.0), ("scores", 1.5), ("points", 1.0)):
        for layer in layers[group]:
            layer.weight *= spread / answers[layer].std()
            layer.bias.zero_()
    for layer in layers["sides"]:
        bins = layer.bias.view(4, -1)
        if bins.shape[1] > 1:
            bins -= 0.5 * torch.arange(bins.shape[1])  # boxes of a few cells, not of the frame
        else:
            bins += 4  # yolo26 gives the distances themselves; they should be positive
    head_out = model(pixels)[0][:, 4 : 4 + head.nc].amax(1)
    edge = torch.logit(head_out).sort(dim=1, descending=True)[0][:, 20].mean()
    for layer in layers["scores"]:
        layer.bias += torch.logit(torch.tensor(above)) - edge
