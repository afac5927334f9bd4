"""What boto3 raises, in our own errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from boto3.exceptions import Boto3Error
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
)

from components.errors import ActverseError, NotFound, StorageFull, Unavailable

# A HEAD has no body that could name the error: its status stands for it.
_MISSING = {"NoSuchKey", "404"}
_RIGHTS = {
    "403",
    "AccessDenied",
    "ExpiredToken",
    "Forbidden",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "UnauthorizedAccess",
}
_ELSEWHERE = {
    "301",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
}
_FULL = {"507", "EntityTooLarge", "InsufficientCapacity", "QuotaExceeded", "XMinioStorageFull"}


@contextmanager
def s3_errors(bucket: str, key: str = "") -> Iterator[None]:
    """Turn what boto3 and the store say into our errors.

    Only the store's error code is repeated, never its text: that could hold what was
    signed.

    Args:
        bucket: its name.
        key: of the file in question.

    Raises:
        NotFound: if the file is not there.
        StorageFull: if the store takes no more.
        Unavailable: for all else: no answer, no bucket, no rights, faults of the store.
    """
    try:
        yield
    except ClientError as error:
        raise _of_code(error, bucket, key) from error
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
        raise Unavailable(
            f"There are no whole credentials for the bucket {bucket}: give AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY, or a credentials file."
        ) from error
    except (BotoCoreError, Boto3Error) as error:
        if isinstance(error.__context__, ClientError):
            # boto3's own upload wraps what the store said.
            raise _of_code(error.__context__, bucket, key) from error
        raise Unavailable(
            f"The store of the bucket {bucket} does not answer ({type(error).__name__}): "
            "check ACTVERSE_S3_ENDPOINT and the network, or try again later."
        ) from error


def _of_code(error: ClientError, bucket: str, key: str) -> ActverseError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in _MISSING:
        return NotFound(f"The storage has no file {key}: check the name.")
    if code == "NoSuchBucket":
        return Unavailable(
            f"The bucket {bucket} does not exist: create it, or correct ACTVERSE_ROOT."
        )
    if code in _RIGHTS:
        return Unavailable(
            f"The store refuses these credentials the bucket {bucket} ({code}): "
            "grant them listing, reading, writing and deleting there, or give others."
        )
    if code in _ELSEWHERE:
        return Unavailable(
            f"The bucket {bucket} lies in another region ({code}): correct ACTVERSE_S3_REGION."
        )
    if code in _FULL:
        return StorageFull(
            f"The store takes no more for the bucket {bucket} ({code}): free or grant space."
        )
    return Unavailable(
        f"The store of the bucket {bucket} did not do what was asked ({code}): try again later."
    )
