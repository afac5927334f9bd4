"""The project in which a task's frames are labelled: whose it is, where, and its images."""

from pathlib import Path

from components.labeling.backend import LabelingBackend
from components.labeling.backends import open_backend
from gateway.steps.context import OtherTask, StepContext
from gateway.webhook import label_studio_token

HOOK_PATH = "/webhooks/label-studio"


def owner_of(context: StepContext) -> OtherTask:
    """The task that the project was made for: this one, or one whose labelling is opened again."""
    reopened = context.work.reopens
    return next((task for task in context.earlier if task.task_id == reopened), context.itself)


def backend_of(context: StepContext, tool: str) -> LabelingBackend:
    """Where it is labelled."""
    settings = context.settings
    secret = settings.webhook_secret.get_secret_value()
    hooked = settings.gateway_uri and secret
    return open_backend(
        tool,
        settings,
        context.storage,
        context.own,
        hook_url=f"{settings.gateway_uri}{HOOK_PATH}" if hooked else "",
        hook_token=label_studio_token(secret) if hooked else "",
    )


def frames_of(context: StepContext, task: OtherTask) -> Path:
    """The folder of the images that are labelled for a task, brought here."""
    if task.work.folder_path:
        return context.bring_own(task.work.folder_path)
    return context.storage.bring(context.layout.frames(task.work.reopens or task.task_id))


def images_of(context: StepContext, task: OtherTask) -> dict[str, Path]:
    """Those images, by stem."""
    from components.label_files import find_images

    return find_images(frames_of(context, task))
