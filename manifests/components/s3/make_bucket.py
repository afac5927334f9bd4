"""Makes the bucket of ACTVERSE_ROOT, unless it is there; waits for the store."""

import os
import time
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

bucket = urlsplit(os.environ["ACTVERSE_ROOT"]).netloc
client = boto3.client(
    "s3",
    endpoint_url=os.environ["ACTVERSE_S3_ENDPOINT"],
    region_name=os.environ["ACTVERSE_S3_REGION"],
)
until = time.monotonic() + 300
while True:
    try:
        if bucket not in [one["Name"] for one in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket=bucket)
        break
    except (BotoCoreError, ClientError):
        if time.monotonic() > until:
            raise
        time.sleep(2)
