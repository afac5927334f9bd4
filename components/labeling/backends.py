"""Which backend a task labels with."""

from collections.abc import Callable
from pathlib import Path

from components.errors import BadInput
from components.labeling.backend import LabelingBackend
from components.settings import Settings
from components.storage import Storage

FOLDER, LABEL_STUDIO = "folder", "label-studio"


def default_tool(settings: Settings) -> str:
    """The tool of a task that names none: Label Studio, where there is one."""
    return LABEL_STUDIO if settings.label_studio_url else FOLDER


def open_backend(
    tool: str,
    settings: Settings,
    storage: Storage,
    place: Callable[[str], Path],
    *,
    hook_url: str = "",
    hook_token: str = "",
) -> LabelingBackend:
    """The backend of a tool.

    Args:
        place: where a key of the user's lies on this machine.
        hook_url, hook_token: where a tool may tell of changes, and what it shows there.

    Raises:
        BadInput: if Label Studio is asked for and none is set.
    """
    if tool == FOLDER:
        from components.labeling.folder_backend import FolderBackend

        return FolderBackend(storage, place)
    if not settings.label_studio_url:
        raise BadInput(
            "No Label Studio is set: start the stack with --label-studio, or name one with "
            "ACTVERSE_LABEL_STUDIO_URL and ACTVERSE_LABEL_STUDIO_TOKEN."
        )
    from components.labeling.label_studio.backend import LabelStudioBackend

    return LabelStudioBackend(settings, storage, hook_url=hook_url, hook_token=hook_token)
