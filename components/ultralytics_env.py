"""How Ultralytics is set up before it is first imported: quiet, offline, and leaving no traces.

Left alone it writes its settings below the user's home, looks for a font and for news on the
network, installs packages that a checkpoint names, unpickles checkpoints in full and tracks
into the working directory. It reads most of its environment once, at import.
"""

import atexit
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

from components.errors import StepFailed

_TRACKERS = ("clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")


def prepare(config_dir: Path | None = None) -> None:
    """Import Ultralytics so that no network, home or working directory is touched.

    Call it before anything imports ultralytics; calling it again changes nothing. Checkpoints
    are then loaded with ``weights_only`` against Ultralytics' own list of classes.

    Args:
        config_dir: where Ultralytics keeps its settings and fonts; by default a private
            temporary folder that goes with the process.

    Raises:
        StepFailed: if ultralytics was imported before without these settings, or is not there.
    """
    if "ultralytics" in sys.modules:
        from ultralytics.utils import AUTOINSTALL, SAFE_LOAD

        if AUTOINSTALL or not SAFE_LOAD:
            raise StepFailed(
                "Ultralytics was imported before it was set up: "
                "call components.ultralytics_env.prepare() first."
            )
        return
    if config_dir is None:
        config_dir = Path(tempfile.mkdtemp(prefix="actverse-ultralytics-"))
        atexit.register(shutil.rmtree, config_dir, ignore_errors=True)
    _give_fonts(config_dir / "Ultralytics")
    os.environ |= {
        "YOLO_CONFIG_DIR": str(config_dir),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "ULTRALYTICS_SAFE_LOAD": "true",
    }
    os.environ.setdefault("YOLO_VERBOSE", "false")

    from ultralytics.utils import SETTINGS

    SETTINGS.update(
        sync=False,
        vscode_msg=False,
        openvino_msg=False,
        datasets_dir=str(config_dir / "datasets"),
        weights_dir=str(config_dir / "weights"),
        runs_dir=str(config_dir / "runs"),
        **dict.fromkeys(_TRACKERS, False),
    )


def _give_fonts(folder: Path) -> None:
    """Put matplotlib's own font where Ultralytics would download one; it knows two names."""
    folder.mkdir(parents=True, exist_ok=True)
    package = importlib.util.find_spec("matplotlib")
    if package is None or package.origin is None:
        raise StepFailed("matplotlib is not installed: install actverse with its extra 'train'.")
    font = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    for name in ("Arial.ttf", "Arial.Unicode.ttf"):
        if not (folder / name).exists():
            shutil.copyfile(font, folder / name)
