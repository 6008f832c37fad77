"""Another department follows what happens to accounts: stopped and started again, it misses nothing.

    CLIENT_ID=... CLIENT_SECRET=... python docs/following.py http://127.0.0.1:8080 position.txt

The id is that of a service account whose role has contacts.changes.read and contacts.accounts.read; the secret is one of
its secrets. Needs the packages grpcio and kontor-protos. What is done with a change must be done again without harm:
whoever is stopped between doing it and writing down the position is told of it once more.
"""

import base64
import json
import os
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc

from kontor.changes.v1 import change_pb2, stream_pb2
from kontor.contacts.v1 import account_pb2, change_service_pb2_grpc

# The token ended; somebody is away; the gateway broke off because the service died.
PASSING = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)


def token(url: str) -> str:
    """Get an access token, which is good for some minutes; the stream ends when it does."""
    pair = base64.b64encode(f"{os.environ['CLIENT_ID']}:{os.environ['CLIENT_SECRET']}".encode()).decode()
    request = urllib.request.Request(
        f"{url}/oauth2/token", b"grant_type=client_credentials", {"authorization": f"Basic {pair}"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return str(json.load(response)["access_token"])


def changes(url: str, target: str, position: str) -> Iterator[tuple[change_pb2.Change | None, str]]:
    """Yield what happens to accounts after `position`, from the beginning without one, each with its own position."""
    earliest = stream_pb2.SubscribeRequest.START_EARLIEST
    while True:
        wanted = ["kontor.contacts.v1.account.*"]
        request = stream_pb2.SubscribeRequest(types=wanted, start=earliest, position=position)
        try:
            with grpc.insecure_channel(target) as channel:
                metadata = [("authorization", f"Bearer {token(url)}")]
                for answer in change_service_pb2_grpc.ChangeServiceStub(channel).Subscribe(request, metadata=metadata):
                    position = answer.position
                    yield (answer.change if answer.HasField("change") else None), position
        except OSError:
            pass  # The gateway is away, so that there is no token.
        except grpc.RpcError as error:
            if error.code() not in PASSING:
                raise
        time.sleep(1)


def main(url: str, kept: Path, target: str) -> None:
    """Print changes, and write down in the file `kept` how far we got."""
    begin = kept.read_text() if kept.exists() else ""
    for change, position in changes(url, target, begin):
        if change is not None:
            account = account_pb2.Account.FromString(change.data.value)
            print(change.type, account.name, account.display_name, flush=True)
        kept.write_text(position)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), target=sys.argv[1].partition("://")[2])
