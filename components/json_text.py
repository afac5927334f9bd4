"""JSON that others wrote, read so that whatever is wrong with it is a ValueError.

``json.loads`` ends with a RecursionError where lists are nested deeply, and takes more than JSON
is: ``NaN``, halves of characters, and of a name that comes twice the last. It does refuse numbers
of thousands of digits, with a ValueError.
"""

import json
from typing import Any

DEEPEST = 64
"""Of what is to be stored or passed on: whoever writes it out again has less of a stack."""


def read_json(text: str | bytes) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: if it is no JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def check_storable(data: Any) -> None:
    """Raise ValueError unless a database can keep what was read of JSON.

    PostgreSQL takes no null character and no half of a character in its text, no NaN in its
    JSON, and columns hold 64 bits.
    """
    # Not by recursion: who nests a thousand lists must not end our stack.
    rest = [(data, 0)]
    while rest:
        value, depth = rest.pop()
        if depth > DEEPEST:
            raise ValueError("it is nested too deeply")
        if isinstance(value, dict):
            rest += ((one, depth + 1) for one in (*value, *value.values()))
        elif isinstance(value, list | tuple):
            rest += ((one, depth + 1) for one in value)
        elif isinstance(value, str):
            if "\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value):
                raise ValueError("a text holds a null character or half a character")
        elif isinstance(value, float):
            if value != value or value in (float("inf"), float("-inf")):
                raise ValueError("a number is not finite")
        elif isinstance(value, int) and abs(value) >= 2**63:
            raise ValueError("a number is too large")


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
