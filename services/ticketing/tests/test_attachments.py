"""Attachments: taken, handed out, and seen by nobody who may not see the ticket."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import uuid
from pathlib import Path

import pytest
from google.api.httpbody_pb2 import HttpBody
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st

from kontor_kit.ids import uuid7
from kontor_ticketing.attachments import rules
from kontor_ticketing.attachments.api import remove_orphans
from kontor_ticketing.attachments.storage import Folder
from kontor_ticketing.service import service

ALL = ("ticketing.tickets.*:all", "ticketing.attachments.*:all")
LIMIT = 100_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("content")


@pytest.fixture(scope="module")
def server(serve, peer, folder):
    peers = {"identity": peer.address, "contacts": peer.address}
    return serve(service(), peers=peers, storage_url=f"file://{folder}", max_attachment_bytes=LIMIT)


@pytest.fixture
def ticket(anna):
    return anna("CreateTicket", ticket={"subject": "It smokes"}).name


def upload(caller, ticket, data=b"content", content_type="text/plain", **fields):
    content = HttpBody(content_type=content_type, data=data)
    return caller("UploadAttachment", ticket=ticket, content=content, **{"filename": "a.txt", **fields})


def refused(caller, ticket, data=b"content", content_type="text/plain", **fields):
    content = HttpBody(content_type=content_type, data=data)
    return caller.refusal("UploadAttachment", ticket=ticket, content=content, **{"filename": "a.txt", **fields})


def files(folder: Path, caller) -> set[str]:
    return {path.name for path in (folder / str(caller.tenant)).glob("*")}


class TestUploaded:
    def test_comes_back_with_what_is_known_of_it(self, anna, ticket):
        data = os.urandom(50_000)
        made = upload(anna, ticket, data, "Image/PNG; q=1", filename="C:\\tmp\\burnt cable ü.png", visibility=2)
        assert anna("GetAttachment", name=made.name) == made
        assert (made.ticket, made.visibility, made.author) == (ticket, rules.INTERNAL, anna.user)
        assert (made.filename, made.content_type) == ("burnt cable ü.png", "image/png")
        assert (made.size_bytes, made.sha256) == (50_000, hashlib.sha256(data).hexdigest())
        assert anna("DownloadAttachment", name=made.name) == HttpBody(content_type="image/png", data=data)
        assert anna.headers["content-disposition"] == (
            "attachment; filename=\"burnt cable _.png\"; filename*=UTF-8''burnt%20cable%20%C3%BC.png"
        )
        assert anna.headers["x-content-type-options"] == "nosniff"

    @pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "application/xhtml+xml", "text/javascript", ""])
    def test_is_never_handed_out_as_something_that_runs(self, anna, ticket, kind):
        made = upload(anna, ticket, b"<script>alert(1)</script>", kind, filename="x.html")
        assert anna("DownloadAttachment", name=made.name).content_type == "application/octet-stream"
        assert anna.headers["content-disposition"].startswith("attachment;")

    def test_lies_where_nobody_can_choose(self, anna, ticket, folder):
        made = upload(anna, ticket, filename="../../etc/passwd")
        assert made.filename == "passwd"
        assert files(folder, anna) == {made.name.partition("/")[2]}

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            pytest.param({"data": b""}, "content.data", id="nothing"),
            pytest.param({"data": bytes(LIMIT + 1)}, "content.data", id="too-large"),
            pytest.param({"content_type": "text"}, "content.content_type", id="no-type"),
            pytest.param({"content_type": "a/b\r\nx: y"}, "content.content_type", id="two-lines"),
            pytest.param({"filename": "folder/"}, "filename", id="no-filename"),
            pytest.param({"filename": ".."}, "filename", id="dots"),
        ],
    )
    def test_names_the_field_that_is_wrong_and_stores_nothing(self, anna, ticket, folder, fields, path):
        refusal = refused(anna, ticket, **fields)
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [path])
        assert files(folder, anna) == set()

    def test_may_be_as_large_as_the_limit(self, anna, ticket):
        assert upload(anna, ticket, bytes(LIMIT)).size_bytes == LIMIT

    def test_is_one_where_the_request_is_repeated(self, anna, ticket):
        first = upload(anna, ticket, request_id="once")
        assert upload(anna, ticket, request_id="once") == first
        assert refused(anna, ticket, b"other", request_id="once").reason == "IDEMPOTENCY_KEY_REUSED"
        assert len(anna("ListAttachments", filter=f'ticket = "{ticket}"').attachments) == 1

    def test_is_not_handed_out_once_it_was_deleted(self, anna, ticket):
        made = upload(anna, ticket)
        anna("DeleteAttachment", name=made.name)
        assert anna.refusal("DownloadAttachment", name=made.name).reason == "DELETED"
        anna("UndeleteAttachment", name=made.name)
        assert anna("DownloadAttachment", name=made.name).data == b"content"

    def test_whose_content_is_lost_says_so(self, anna, ticket, folder):
        made = upload(anna, ticket)
        (folder / str(anna.tenant) / made.name.partition("/")[2]).unlink()
        assert anna.refusal("DownloadAttachment", name=made.name).reason == "CONTENT_LOST"

    def test_needs_a_storage(self, serve, peer):
        bea = serve(service(), peers={"identity": peer.address}).caller()
        made = bea("CreateTicket", ticket={"subject": "x"})
        assert refused(bea, made.name).reason == "STORAGE_MISSING"

    def test_leaves_nothing_to_see_where_it_fails(self, anna, ticket, folder, server, monkeypatch):
        def lose(*_):
            raise ConnectionError

        with monkeypatch.context() as patched:
            patched.setattr("kontor_kit.db.Transaction.commit", lose)
            assert refused(anna, ticket).code is StatusCode.INTERNAL
        assert len(anna("ListAttachments", filter=f'ticket = "{ticket}"').attachments) == 0
        assert len(files(folder, anna)) == 1


@pytest.fixture
def shelf(anna, ticket):
    return {"public": upload(anna, ticket), "internal": upload(anna, ticket, visibility=rules.INTERNAL)}


# Permissions, and what is seen of a ticket that belongs to somebody else.
SEEN = {
    "colleague": ([*ALL, "ticketing.ticketEntries.readInternal:all"], {"public", "internal"}),
    "portal": ([*ALL], {"public"}),
    "reader-of-others": (["ticketing.tickets.read:all", "ticketing.attachments.read:own"], set()),
    "stranger": (["ticketing.tickets.*:own", "ticketing.attachments.*:own"], set()),
}


@pytest.mark.parametrize("reader", SEEN)
class TestReaders:
    @pytest.fixture
    def who(self, anna, reader):
        return anna.colleague(*SEEN[reader][0])

    def test_get_and_download_what_they_may_see(self, shelf, who, reader):
        for kind, attachment in shelf.items():
            for method in ("GetAttachment", "DownloadAttachment"):
                if kind in SEEN[reader][1]:
                    who(method, name=attachment.name)
                else:
                    assert who.refusal(method, name=attachment.name).code is StatusCode.NOT_FOUND

    def test_list_and_count_it(self, shelf, who, reader, ticket):
        names = {shelf[kind].name for kind in SEEN[reader][1]}
        for filter in (
            "",
            f'ticket = "{ticket}"',
            "visibility = VISIBILITY_INTERNAL OR visibility = VISIBILITY_PUBLIC",
        ):
            page = who("ListAttachments", filter=filter, include_total_size=True)
            assert ({attachment.name for attachment in page.attachments}, page.total_size) == (names, len(names))


class TestWriters:
    def test_of_own_tickets_add_to_no_others(self, anna, ticket, folder):
        own = anna.colleague("ticketing.tickets.*:all", "ticketing.attachments.*:own")
        refusal = refused(own, ticket)
        assert (refusal.code, refusal.reason) == (StatusCode.PERMISSION_DENIED, "OUT_OF_SCOPE")
        assert files(folder, anna) == set()
        mine = own("CreateTicket", ticket={"subject": "x"})
        assert upload(own, mine.name).author == own.user

    def test_who_do_not_see_the_ticket_learn_nothing_of_it(self, ticket, server, anna):
        for caller in (server.caller(), anna.colleague("ticketing.*:own")):
            refusal = refused(caller, ticket)
            assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, ["ticket"])

    def test_who_could_not_see_it_afterwards_are_refused(self, anna, ticket):
        assert refused(anna.colleague(*ALL), ticket, visibility=rules.INTERNAL).code is StatusCode.PERMISSION_DENIED


class TestOrphans:
    """Content that nothing refers to."""

    def test_are_removed_when_they_are_old_and_nothing_else_is(self, anna, ticket, folder, server):
        kept, deleted, young, recent = upload(anna, ticket), upload(anna, ticket), str(uuid7()), upload(anna, ticket)
        anna("DeleteAttachment", name=deleted.name)
        own = folder / str(anna.tenant)
        others = ["notes.txt", f"{uuid7()}x"]
        orphans = [str(uuid7()) for _ in range(3)]
        parts = [f"{kept.name.partition('/')[2]}.part"]
        for name in (young, *orphans, *parts, *others):
            (own / name).write_bytes(b"x")
        long_ago = (dt.datetime.now(dt.UTC) - dt.timedelta(days=2)).timestamp()
        for name in files(folder, anna) - {young, recent.name.partition("/")[2]}:
            os.utime(own / name, (long_ago, long_ago))
        assert remove_orphans(Folder(folder)).run_once(server.runtime.system)
        known = {made.name.partition("/")[2] for made in (kept, deleted, recent)}
        assert files(folder, anna) == known | {young, *others}
        assert anna("DownloadAttachment", name=kept.name).data == b"content"


class TestNames:
    @settings(max_examples=200)
    @given(st.text())
    def test_of_files_become_harmless(self, filename):
        plain = rules.plain_filename(filename)
        assert not {"/", "\\", "\0", "\n", "\u202e"} & {*plain}
        header = rules.disposition(plain)
        assert header.isascii()
        assert header.isprintable()
        assert header.count('"') == 2

    def test_of_content_say_whose_it_is(self):
        tenant, id = uuid.uuid4(), uuid7()
        assert rules.parse_key(rules.key(tenant, id)) == (tenant, id)
        assert rules.parse_key("backup/2026.tar") is None
