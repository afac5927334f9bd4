"""The parity gate: an export that does not behave like its model.pt goes no further."""

from pathlib import Path

from pydantic import ValidationError

from components.errors import BadInput, NotFound
from components.export.export import MODEL, REPORT
from components.export.parity_report import ParityReport


def require_parity(export: Path) -> ParityReport:
    """The report of an export that has passed.

    Args:
        export: the folder that ``components/export`` wrote, whether parity was reached or not.

    Raises:
        NotFound: if there is no export, or it was never proven.
        BadInput: if its report cannot be read.
        ParityFailed: naming the frame and the figure that missed.
    """
    for name in (MODEL, REPORT):
        if not (export / name).is_file():
            raise NotFound(f"The export {export} has no {name}: export the model again.")
    try:
        report = ParityReport.model_validate_json((export / REPORT).read_bytes())
    except ValidationError as error:
        raise BadInput(f"{export / REPORT} is no parity report: export the model again.") from error
    report.require("model.pt")
    return report
