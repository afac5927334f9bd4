"""Ways for people to MLflow's UI, and pages that are kept with a run there.

They are not worth the loss of a step that has done its work: where MLflow does not answer,
a link is left out and a page is not kept, and the log says so.
"""

import logging
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from components.errors import NotFound, StepFailed, Unavailable
from components.html_page import markdown_text
from components.registry.connection import registry
from components.settings import Settings

logger = logging.getLogger(__name__)

FOLDER = "pages"


def run_page(run_id: str, settings: Settings) -> str:
    """The address of a run's page; empty where it is not known."""
    base = _base(settings)
    if not base or not run_id:
        return ""
    try:
        with registry(settings.mlflow_uri, f"the run {run_id}") as client:
            experiment = client.get_run(run_id).info.experiment_id
    except (NotFound, StepFailed, Unavailable) as error:
        logger.warning("The page of the run %s is not known: %s", run_id, error)
        return ""
    return f"{base}/#/experiments/{quote(experiment, safe='')}/runs/{quote(run_id, safe='')}"


def version_page(name: str, version: int, settings: Settings) -> str:
    """The address of a model version's page; empty where MLflow has no address."""
    base = _base(settings)
    return f"{base}/#/models/{quote(name, safe='')}/versions/{int(version)}" if base else ""


def run_of_version(name: str, version: int, settings: Settings) -> str:
    """The id of the run that a version came from; empty where it is not known."""
    try:
        with registry(settings.mlflow_uri, f"version {version} of the model {name}") as client:
            return str(client.get_model_version(name, str(version)).run_id or "")
    except (NotFound, StepFailed, Unavailable) as error:
        logger.warning("The run of version %s of %s is not known: %s", version, name, error)
        return ""


def log_pages(run_id: str, pages: Mapping[str, str], settings: Settings) -> None:
    """Keep pages, by file name, with a run: MLflow's UI shows them in every shape."""
    if not run_id:
        return
    try:
        with registry(settings.mlflow_uri, f"pages of the run {run_id}") as client:
            for name, page in pages.items():
                client.log_text(run_id, page, f"{FOLDER}/{name}")
    except (NotFound, StepFailed, Unavailable) as error:
        logger.warning("The pages %s are not kept in MLflow: %s", ", ".join(pages), error)


def version_markdown(
    title: str, name: str, version: int, settings: Settings, *, run_url: str = "", words: str = ""
) -> str:
    """A Markdown page about a version, with the ways to it and to its training's run.

    Args:
        title: the heading, as plain text.
        name, version: the registered version.
        settings: MLflow's address is read.
        run_url: of its training.
        words: a sentence beneath the heading, as plain text.
    """
    lines = [f"# {markdown_text(title)}", ""]
    if words:
        lines += [markdown_text(words), ""]
    if page := version_page(name, version, settings):
        lines.append(f"- [Version {version} of {markdown_text(name)} in MLflow]({page})")
    if run_url:
        lines.append(f"- [Its training in MLflow]({run_url})")
    return "\n".join(lines) + "\n"


def _base(settings: Settings) -> str:
    """MLflow's address for people, without the credentials that a URL may hold."""
    parts = urlsplit(settings.mlflow_public_url or settings.mlflow_uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
