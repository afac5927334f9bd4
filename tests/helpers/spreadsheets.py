"""What a spreadsheet would run of a CSV file."""

import csv
import re
from pathlib import Path

# What Excel, LibreOffice and Google Sheets begin a formula with, blanks before it left out.
RUN = re.compile(r"[\s\"]*[=+\-@\uff1d\uff0b\uff0d\uff20]")
NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")


def cells_run(file: Path) -> list[str]:
    """The cells of a CSV that a spreadsheet would run, whichever border of cells it goes by."""
    found = []
    for delimiter in (",", ";", "\t"):
        with file.open(newline="", encoding="utf-8") as stream:
            for row in csv.reader(stream, delimiter=delimiter):
                found += [c for c in row if RUN.match(c) and not NUMBER.match(c)]
    return found
