"""A user's own checkpoint in the storage, brought to where a training can read it."""

from components.errors import BadInput, NotFound
from components.storage import Storage

STORED = "stored:"


def bring_weights(weights: str, storage: Storage) -> str:
    """The weights of a training with a stored file brought, and its local path in its place.

    A pipeline's step may run in a pod that has nothing but the storage, so whoever submits a
    run names a user's own checkpoint by its key. The key is taken as it is: whether it is the
    user's own must have been checked before.

    Args:
        weights: as ``TrainingSettings.weights``; ``stored:users/ann/mice.pt`` names the file
            of that key, anything else is returned unchanged.
        storage: the installation's.

    Raises:
        BadInput: if there is no such file.
        Refused: if the key is malformed or leads outside the storage.
        Unavailable: if the storage does not answer.
    """
    if not weights.startswith(STORED):
        return weights
    key = weights.removeprefix(STORED)
    try:
        path = storage.bring(storage.path_of(key))
    except NotFound as error:
        raise BadInput(
            f"The weights {key} are not in the storage: upload them, or train from scratch."
        ) from error
    if not path.is_file():
        raise BadInput(f"The weights {key} are a folder: name the .pt file in it.")
    return str(path)
