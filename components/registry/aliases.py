"""Which version of each model is to be served: the registry's alias for it."""

from components.registry.connection import registry


def read_champions(alias: str, *, tracking_uri: str) -> dict[str, int]:
    """The version that ``alias`` names, by model; models without it are left out.

    Raises:
        Unavailable: if the server does not answer.
    """
    champions: dict[str, int] = {}
    token: str | None = None
    with registry(tracking_uri, "the registered models") as client:
        while True:
            page = client.search_registered_models(max_results=200, page_token=token)
            for model in page:
                if alias in model.aliases:
                    champions[model.name] = int(model.aliases[alias])
            token = page.token
            if not token:
                return champions


def read_champion(name: str, alias: str, *, tracking_uri: str) -> int | None:
    """The version of one model that ``alias`` names, or None.

    Raises:
        NotFound: if there is no such model.
        Unavailable: if the server does not answer.
    """
    with registry(tracking_uri, f"the model {name}") as client:
        version = client.get_registered_model(name).aliases.get(alias)
    return None if version is None else int(version)


def set_champion(name: str, version: int, alias: str, *, tracking_uri: str) -> None:
    """Point ``alias`` at a version, through the server, so that its webhook fires.

    Raises:
        NotFound: if there is no such version.
        Unavailable: if the server does not answer.
    """
    with registry(tracking_uri, f"version {version} of the model {name}") as client:
        client.get_model_version(name, str(version))
        client.set_registered_model_alias(name, alias, str(version))
