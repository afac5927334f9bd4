"""The labels of many images, whatever tool or file they come from."""

from dataclasses import dataclass, field

from components.labels import FrameLabels, LabelSpec


@dataclass(frozen=True)
class LabelledFrame:
    """One image's labels.

    Attributes:
        file: the image's file name.
        size_wh: of the image, pixels.
        labels: empty where it is confirmed that there is nothing in it.
    """

    file: str
    size_wh: tuple[int, int]
    labels: FrameLabels


@dataclass(frozen=True)
class LabelSet:
    """The labels of many images.

    Attributes:
        spec: the classes and key points that the labels count by.
        frames: by the image's stem.
        skipped: stems of images that people chose not to label.
        faults: stems of images whose labels cannot be used, each with a sentence that says
            why. Files are refused as a whole; a tool's other images are worth keeping.
    """

    spec: LabelSpec
    frames: dict[str, LabelledFrame]
    skipped: frozenset[str] = frozenset()
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def objects(self) -> dict[str, int]:
        """The number of objects of each class."""
        counts = dict.fromkeys(self.spec.names, 0)
        for frame in self.frames.values():
            for class_id in frame.labels.class_ids.tolist():
                counts[self.spec.names[class_id]] += 1
        return counts
