"""Which version of a model answers now, as the registry tells it."""

from components.registry.aliases import read_champion
from components.registry.connection import registry
from components.registry.tags import STATE_TAG, ServingState, read_state


def version_in_service(name: str, alias: str, *, tracking_uri: str) -> int | None:
    """The version that ``alias`` names; if that was not fit to be served, the one that still is.

    None where there is no alias, or no version was ever fit.

    Raises:
        NotFound: if there is no such model.
        Unavailable: if the server does not answer.
    """
    champion = read_champion(name, alias, tracking_uri=tracking_uri)
    if champion is None:
        return None
    if read_state(name, champion, tracking_uri=tracking_uri).state is not ServingState.FAILED:
        return champion
    # The one before it was not retired, since nothing took its place.
    with registry(tracking_uri, f"the versions of the model {name}") as client:
        ready = client.search_model_versions(
            f"name = '{name}' and tags.`{STATE_TAG}` = '{ServingState.READY.value}'"
        )
    return max((int(version.version) for version in ready), default=None)
