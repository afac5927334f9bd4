"""Steps: one folder each; what several steps share stands here."""

import os

MAX_IMAGE_PIXELS = 8192 * 8192
"""Of an image or a video's frame from outside: 64 megapixels, 200 MB once it is decoded."""

# A second line, for what reads images by itself, as a training does: OpenCV reads this once.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_IMAGE_PIXELS))

# ONNX Runtime writes a device id into the home folder and reports to its maker as soon as it is
# imported, unless this is set before (https://github.com/microsoft/onnxruntime/pull/27379).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
