"""Single pieces of the way before the labels."""

from pydantic import Field

from components.video.selection.options import Strategy
from gateway.schemas.body import Body, Key, Place, UserId
from gateway.schemas.tasks import TaskCreated


class DownloadRequest(Body):
    """A video that is to be fetched and checked."""

    file_path: Place
    download_path: Key = Field(description="where to put it among your own files")
    user_id: UserId = None


class DownloadCreated(TaskCreated):
    """The answer to it."""

    download_path: str


class ExtractRequest(Body):
    """A video whose frames are wanted."""

    file_path: Place
    num_frames: int = Field(120, ge=1, le=100_000)
    strategy: Strategy | None = Field(
        None, description="default: active where a global model is served, else uniform"
    )
    min_seconds_apart: float | None = Field(None, ge=0, le=86_400)
    seed: int = Field(0, ge=0, lt=2**31)
    user_id: UserId = None


class ExtractCreated(TaskCreated):
    """The answer to it."""

    frame_path: str = Field(description="the key of the folder in which the frames will lie")


class UploadRequest(Body):
    """A file that is to be put elsewhere among one's own files."""

    file_path: Place
    upload_path: Key = Field(description="where to put it among your own files")
    user_id: UserId = None


class UploadCreated(TaskCreated):
    """The answer to it."""

    upload_path: str
