# A server with S3's protocol (moto's), with the bucket `owls`. Prints its address, and ends with its standard input.
import sys

import boto3
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
address = f"http://{host}:{port}"
keys = {"aws_access_key_id": "owl", "aws_secret_access_key": "hoot", "region_name": "us-east-1"}
boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket="owls")
print(address, flush=True)
sys.stdin.read()
server.stop()
