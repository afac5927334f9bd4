"""Makes the bucket of ACTVERSE_ROOT, unless it is there; waits for the store.

An empty one is no model repository to Triton, which ends where there is none: it gets a file.
"""

import os
import time
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

root = urlsplit(os.environ["ACTVERSE_ROOT"])
bucket, models = root.netloc, f"{root.path}/models/".lstrip("/")
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
        if not client.list_objects_v2(Bucket=bucket, Prefix=models, MaxKeys=1)["KeyCount"]:
            client.put_object(Bucket=bucket, Key=f"{models}README.txt", Body=b"Triton's models.\n")
        break
    except (BotoCoreError, ClientError):
        if time.monotonic() > until:
            raise
        time.sleep(2)
