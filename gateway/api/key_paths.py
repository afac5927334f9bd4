"""``{name:key}`` in a route's path: whatever is left of the path, and at least something."""

from starlette.convertors import PathConvertor, register_url_convertor


class KeyConvertor(PathConvertor):
    """As Starlette's ``path``, which is content with nothing and ends at a line's end."""

    regex = "(?s:.+)"


register_url_convertor("key", KeyConvertor())
