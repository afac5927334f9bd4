"""Log files that do not grow for ever: what is full is copied aside, and emptied.

The processes that write keep the file open, for appending: whatever comes after lands at the new
end. What is written in the moment between the last look and the emptying is lost, a line or two.
"""

import shutil
from pathlib import Path

LOG_BYTES, OLD_LOGS = 20 * 2**20, 3


def rotate(log: Path, most_bytes: int, old: int) -> bool:
    """Put a log aside as ``NAME.1`` if it has grown to ``most_bytes``; older ones move up.

    Args:
        old: so many older ones are left.

    Returns:
        Whether it was.
    """
    if not log.exists() or log.stat().st_size < most_bytes:
        return False
    for number in range(old, 1, -1):
        newer = _aside(log, number - 1)
        if newer.exists():
            newer.replace(_aside(log, number))
    try:
        with log.open("r+b") as full, _aside(log, 1).open("wb", buffering=0) as aside:
            # Its copy ends where nothing more is found: that is where it is emptied at once.
            shutil.copyfileobj(full, aside, 2**20)
            full.truncate(0)
    except OSError:
        # On a full disk half a copy helps nobody.
        _aside(log, 1).unlink(missing_ok=True)
        raise
    return True


def _aside(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")
