"""The objects below a prefix of an S3 bucket, one request or one transfer at a time.

boto3 does the work: multipart transfers, their retries, and a checksum (CRC-32) with each
part that the store verifies. A store that knows no such checksums is served with boto3's
own AWS_REQUEST_CHECKSUM_CALCULATION=WHEN_REQUIRED. What boto3 does not compare is the
whole file when it comes back in parts, so each object carries its SHA-256 in its metadata.
Objects of other origin have an entity tag, which often is their MD5.

Credentials come from boto3's own chain alone. A process that is killed in the middle of a
multipart upload leaves its parts, unseen but stored: give the bucket a lifecycle rule that
aborts incomplete uploads.
"""

import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import boto3
import botocore.session
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.loaders import Loader

from components.s3_errors import s3_errors
from components.storage import StoredFile
from components.storage_keys import checked_key

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from types_boto3_s3.client import S3Client
    from types_boto3_s3.type_defs import (
        GetObjectRequestTypeDef,
        ListObjectsV2OutputTypeDef,
        ObjectIdentifierTypeDef,
        ObjectTypeDef,
    )

FILES_AT_A_TIME = 8
_PARTS_AT_A_TIME = 4
_ATTEMPTS = 3
_CHUNK = 2**20
_DELETED_AT_A_TIME = 1000  # S3 takes no more

_MODELS = Loader()
"""Reads the description of S3's interface once a process, not once a client (0.15 s)."""


@dataclass(frozen=True)
class Content:
    """What a store says of an object's content.

    Attributes:
        bytes: its size.
        algorithm: of the digest.
        digest: hex; empty where the store gives none of the whole object.
    """

    bytes: int
    algorithm: str = ""
    digest: str = ""

    def is_that_of(self, path: Path) -> bool:
        """Whether a local file has this content; False where that cannot be told."""
        if not self.digest or path.stat().st_size != self.bytes:
            return False
        return file_digest(path, self.algorithm) == self.digest


def file_digest(path: Path, algorithm: str) -> str:
    """A file's digest, hex."""
    new = partial(hashlib.new, algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        return hashlib.file_digest(file, new).hexdigest()


def s3_client(endpoint: str, region: str, *, silence: float = 15.0) -> "S3Client":
    """A client that gives a store up within a minute when it does not answer.

    Args:
        endpoint: URL of the store; empty for AWS's own.
        region: where the bucket lies.
        silence: seconds without a byte after which an attempt is given up.
    """
    session = botocore.session.Session()
    session.register_component("data_loader", _MODELS)
    return boto3.session.Session(botocore_session=session).client(
        "s3",
        endpoint_url=endpoint or None,
        region_name=region,
        config=Config(
            signature_version="s3v4",
            connect_timeout=3,
            read_timeout=silence,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            max_pool_connections=FILES_AT_A_TIME * _PARTS_AT_A_TIME,
            # Other stores seldom have a host name for each bucket.
            s3={"addressing_style": "path" if endpoint else "auto"},
        ),
    )


class S3Objects:
    """``s3://bucket/prefix``; keys are relative to the prefix.

    Every method raises Refused for a malformed key and what ``components/s3_errors.py``
    says.

    Attributes:
        client: boto3's.
        bucket: its name.
        page_keys: how many keys are listed with one request.
    """

    def __init__(
        self,
        client: "S3Client",
        bucket: str,
        prefix: str = "",
        *,
        part_bytes: int = 8 * 2**20,
        page_keys: int = 1000,
    ) -> None:
        """``prefix`` has no '/' at its end; what is larger than ``part_bytes`` (5 MiB or
        more, as S3 wants it) is moved in parts of that size."""
        self.client, self.bucket, self.page_keys = client, bucket, page_keys
        self._root = f"{prefix}/" if prefix else ""
        self._transfer = TransferConfig(
            multipart_threshold=part_bytes,
            multipart_chunksize=part_bytes,
            max_concurrency=_PARTS_AT_A_TIME,
            num_download_attempts=_ATTEMPTS,
        )

    def name(self, key: str) -> str:
        """The object's name in the bucket."""
        return self._root + checked_key(key)

    def find(self, key: str) -> StoredFile | None:
        """One object as it is listed: HEAD could not tell a missing file from a missing bucket."""
        with s3_errors(self.bucket, key):
            listed = self.client.list_objects_v2(
                Bucket=self.bucket, Prefix=self.name(key), MaxKeys=1
            )
        found = [self._stored(one) for one in listed.get("Contents", [])]
        return found[0] if found and found[0].key == key else None

    def below(self, key: str, *, after: str = "", page: int | None = None) -> Iterator[StoredFile]:
        """All objects of a folder (all at all with an empty key), in order, page by page."""
        prefix = f"{self.name(key)}/" if key else self._root
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket,
            Prefix=prefix,
            StartAfter=self.name(after) if after else "",
            PaginationConfig={"PageSize": min(page or self.page_keys, self.page_keys)},
        )
        return self._listed(iter(pages))

    def _listed(self, pages: "Iterator[ListObjectsV2OutputTypeDef]") -> Iterator[StoredFile]:
        while True:
            with s3_errors(self.bucket):
                page = next(pages, None)
            if page is None:
                return
            yield from map(self._stored, page.get("Contents", []))

    def _stored(self, one: "ObjectTypeDef") -> StoredFile:
        key, tag = one["Key"].removeprefix(self._root), one["ETag"].strip('"')
        return StoredFile(key, one["Size"], one["LastModified"], tag)

    def content(self, key: str) -> Content:
        """What the store says of an object's content."""
        with s3_errors(self.bucket, key):
            said = self.client.head_object(Bucket=self.bucket, Key=self.name(key))
        size, tag = said["ContentLength"], said["ETag"].strip('"')
        if sha256 := said["Metadata"].get("sha256"):
            return Content(size, "sha256", sha256)
        # With keys of KMS or the client's own, the tag looks like an MD5 and is none.
        plain = said.get("ServerSideEncryption", "AES256") == "AES256"
        if plain and "SSECustomerAlgorithm" not in said and re.fullmatch("[0-9a-f]{32}", tag):
            return Content(size, "md5", tag)
        return Content(size)

    def download(self, key: str, path: Path, moved: Callable[[int], None]) -> None:
        """Fetch an object, in parts where it is large."""
        with s3_errors(self.bucket, key):
            self.client.download_file(
                self.bucket, self.name(key), str(path), Callback=moved, Config=self._transfer
            )

    def upload(self, key: str, path: Path, sha256: str, moved: Callable[[int], None]) -> None:
        """Store a local file, in parts where it is large; it appears whole."""
        with s3_errors(self.bucket, key):
            self.client.upload_file(
                str(path),
                self.bucket,
                self.name(key),
                ExtraArgs={"Metadata": {"sha256": sha256}},
                Callback=moved,
                Config=self._transfer,
            )

    def read(self, key: str, start: int, length: int | None) -> Iterator[bytes]:
        """Some of an object's bytes; the request is made before this returns.

        Args:
            key: of the object.
            start: the first byte.
            length: how many at most, but not 0: S3 has no such range.
        """
        asked: GetObjectRequestTypeDef = {"Bucket": self.bucket, "Key": self.name(key)}
        if start or length is not None:
            asked["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        with s3_errors(self.bucket, key):
            try:
                body = self.client.get_object(**asked)["Body"]
            except ClientError as error:
                if error.response["Error"].get("Code") == "InvalidRange":
                    return iter(())  # it ends before
                raise
        return self._chunks(key, body)

    def _chunks(self, key: str, body: "StreamingBody") -> Iterator[bytes]:
        with closing(body), s3_errors(self.bucket, key):
            yield from body.iter_chunks(_CHUNK)

    def delete(self, keys: Iterable[str]) -> int:
        """Delete objects, listed ones or not; how many names there were."""
        rest, count = iter(keys), 0
        while batch := list(itertools.islice(rest, _DELETED_AT_A_TIME)):
            with s3_errors(self.bucket):
                # What is deleted may have a name that can be no key.
                names: list[ObjectIdentifierTypeDef] = [{"Key": self._root + key} for key in batch]
                said = self.client.delete_objects(
                    Bucket=self.bucket, Delete={"Objects": names, "Quiet": True}
                )
                for error in said.get("Errors", []):
                    raise ClientError({"Error": {"Code": error["Code"]}}, "DeleteObjects")
            count += len(batch)
        return count

    def link(self, key: str, seconds: int) -> str:
        """A presigned URL that saves the object under its own name."""
        name = self.name(key)
        file_name = quote(key.rpartition("/")[2], safe="")
        with s3_errors(self.bucket, key):
            url: str = self.client.generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self.bucket,
                    "Key": name,
                    # A page or a picture with scripts in it is saved, not shown.
                    "ResponseContentDisposition": f"attachment; filename*=UTF-8''{file_name}",
                },
                ExpiresIn=seconds,
            )
        return url

    def check(self) -> None:
        """One request that needs bucket and rights."""
        with s3_errors(self.bucket):
            self.client.list_objects_v2(Bucket=self.bucket, Prefix=self._root, MaxKeys=1)
