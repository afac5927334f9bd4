"""What the commands about models do: which are served, and one brought in."""

import click

from actverse.task_commands import follow_task, print_posted
from actverse.terminal import cell, make_console, make_table, print_json, transfer_bar
from actverse.where import find_gateway


def list_models(gateway: str | None, key: str | None, *, as_json: bool) -> None:
    """Print the models that are served."""
    with find_gateway(gateway, key).client() as client:
        models = client.models()
    if as_json:
        print_json(models)
        return
    if not models:
        make_console(stderr=True).print("No model is served.")
        return
    table = make_table("model", "version", "loaded", "task", "pixels", "classes", "key points")
    for model in models:
        table.add_row(
            cell(model["model"]),
            str(model["version"]),
            ", ".join(str(version) for version in model["versions"]),
            *(cell(model["task"]), str(model["imgsz"])),
            *(cell(", ".join(model["names"])), cell(", ".join(model["keypoints"]))),
        )
    make_console().print(table)


def import_model(
    gateway: str | None,
    key: str | None,
    file: str,
    name: str,
    images: str | None,
    imgsz: int | None,
    *,
    watch: bool,
) -> None:
    """Have a model file served under a name; print the id of the import's task.

    Raises:
        StepFailed: if it was followed and did not succeed.
    """
    where = find_gateway(gateway, key)
    with where.client() as client:
        with transfer_bar() as progress:
            task_id = client.import_model(file, name, images, imgsz=imgsz, progress=progress)
        if not watch:
            print_posted(where, task_id)
            return
        click.echo(task_id)
        follow_task(where, client, task_id, then="models")
