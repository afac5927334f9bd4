"""What can be set of a training."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

# Without a warm-up, steps as long as from scratch forget in one epoch what the weights knew.
_LR0_FROM_SCRATCH, _LR0_FROM_WEIGHTS = 0.002, 0.0005

Share = Annotated[float, Field(ge=0, le=1)]


class TrainingSettings(BaseModel):
    """The settings of a training; the defaults suit tens to hundreds of images of one scene.

    Found on two cores, from scratch: one optimizer step a batch (Ultralytics gathers 64
    images for one), no warm-up and no mosaic reach in 6 epochs what the usual defaults need
    24 for. The names are Ultralytics' where it has them
    (https://docs.ultralytics.com/usage/cfg/#train-settings).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        "yolo11n", pattern=r"^(yolov8|yolo11|yolo26)[nsmlx]$", description="the architecture"
    )
    weights: str = Field(
        "",
        max_length=1024,
        description="checkpoint to start from: a local .pt, stored:KEY for one in the storage, "
        "the name of one that Ultralytics publishes, which is downloaded, or models:/NAME@ALIAS "
        "for that of a registered model; empty: from scratch. Never take it from a client.",
    )
    epochs: int = Field(60, ge=1, le=10_000)
    imgsz: int = Field(320, ge=64, le=4096, multiple_of=32, description="pixels, the long side")
    batch: int = Field(
        4, ge=1, le=1024, description="images; with few of them, small batches learn much sooner"
    )
    seed: int = Field(0, ge=0, lt=2**31)
    device: str = Field(
        "",
        pattern=r"^(|cpu|mps|\d+)$",
        description="cpu, mps or the number of a GPU; empty: a GPU if there is one",
    )
    threads: int = Field(0, ge=0, le=256, description="CPU threads; 0: one a core, at most 8")
    workers: int = Field(2, ge=0, le=64, description="data loading processes; on a GPU only")
    cache: Literal["ram", "disk", ""] = Field("ram", description="where decoded images are kept")
    optimizer: Literal["AdamW", "Adam", "SGD", "MuSGD", "auto"] = "AdamW"
    lr0: float | None = Field(
        None,
        gt=0,
        le=1,
        description="learning rate at first; by default 0.002 from scratch, 0.0005 from weights",
    )
    lrf: float = Field(0.01, gt=0, le=1, description="at the end, as a share of lr0")
    cos_lr: bool = False
    weight_decay: float = Field(0.0005, ge=0, le=1)
    warmup_epochs: float = Field(0.0, ge=0)
    nbs: int = Field(0, ge=0, le=4096, description="images for one optimizer step; 0: a batch")
    patience: int = Field(
        30, ge=0, description="epochs without a better model after which it ends; 0: never"
    )
    time_limit: float = Field(
        0.0, ge=0, description="seconds after which no further epoch is begun; 0: none"
    )
    plots: bool = Field(True, description="whether pictures of the training are drawn")
    freeze: int = Field(0, ge=0, le=22, description="layers from the front that do not learn")

    hsv_h: Share = 0.015
    hsv_s: Share = 0.7
    hsv_v: Share = 0.4
    degrees: float = Field(0.0, ge=0, le=180)
    translate: Share = 0.05
    scale: Share = 0.2
    fliplr: Share = Field(0.5, description="not done for key points without a flip_idx")
    flipud: Share = Field(0.0, description="not done for key points without a flip_idx")
    mosaic: Share = 0.0
    close_mosaic: int = Field(10, ge=0, description="epochs at the end without mosaic")

    def with_lr0(self, *, from_weights: bool) -> Self:
        """With the learning rate of such a start, where none is set."""
        if self.lr0 is not None:
            return self
        lr0 = _LR0_FROM_WEIGHTS if from_weights else _LR0_FROM_SCRATCH
        return self.model_copy(update={"lr0": lr0})
