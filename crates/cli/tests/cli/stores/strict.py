"""A server of S3 that checks signatures and rights (moto). It prints where it is and with which keys, and ends with its input."""

import json
import os
import sys

# So many requests are not checked: those that make the user and the bucket.
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "4"

import boto3
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
endpoint = f"http://{host}:{port}"
options = dict(endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")
iam = boto3.client("iam", **options)
iam.create_user(UserName="user")
rights = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
iam.put_user_policy(UserName="user", PolicyName="all", PolicyDocument=json.dumps(rights))
keys = iam.create_access_key(UserName="user")["AccessKey"]
boto3.client("s3", **options).create_bucket(Bucket="photos")
print(endpoint, keys["AccessKeyId"], keys["SecretAccessKey"], flush=True)
sys.stdin.read()
