"""A server of S3 (moto) that takes only requests signed as Amazon's own library (botocore) signs them.

It prints where it is and its keys, and ends with its input. The check stands here because moto's own leaves the query and the
encoding of a key out, and so refuses botocore too as soon as there is one.
"""

import sys
from threading import Thread
from urllib.parse import urlsplit

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

KEY, SECRET, REGION = "AKIAEXAMPLE", "a-secret/of+one=example", "us-east-1"
REFUSAL = b"<Error><Code>SignatureDoesNotMatch</Code><Message>The signature is not that of the key.</Message></Error>"
store = DomainDispatcherApplication(create_backend_app)


def signature(environ, signed):
    """What botocore signs this request with, given the names of the headers that are signed."""
    header = {name: environ["HTTP_" + name.upper().replace("-", "_")] for name in signed}
    address = urlsplit(environ["RAW_URI"])
    request = AWSRequest(environ["REQUEST_METHOD"], f"http://{environ['HTTP_HOST']}{address.path}?{address.query}", header)
    request.context["timestamp"] = environ["HTTP_X_AMZ_DATE"]
    rule = S3SigV4Auth(Credentials(KEY, SECRET), "s3", REGION)
    return rule.signature(rule.string_to_sign(request, rule.canonical_request(request)), request)


def checked(environ, respond):
    parts = dict(part.split("=", 1) for part in environ.get("HTTP_AUTHORIZATION", "").replace(",", " ").split() if "=" in part)
    if parts.get("Signature") != signature(environ, parts.get("SignedHeaders", "host").split(";")):
        respond("403 Forbidden", [("Content-Type", "application/xml")])
        return [REFUSAL]
    return store(environ, respond)


server = make_server("127.0.0.1", 0, checked, threaded=True)
Thread(target=server.serve_forever, daemon=True).start()
endpoint = f"http://127.0.0.1:{server.server_port}"
boto3.client(
    "s3", endpoint_url=endpoint, region_name=REGION, aws_access_key_id=KEY, aws_secret_access_key=SECRET
).create_bucket(Bucket="photos")
print(endpoint, KEY, SECRET, flush=True)
sys.stdin.read()
