"""A campaign is sent to many people while processes are killed: everyone entitled has the mail, and nobody else has any.

A mail can come twice only where it was under way when a process was killed, and then with the same Message-ID.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kontor.marketing.v1.campaign_pb2 import Campaign
from kontor_marketing.service import service
from services.marketing.tests.mails import Sink, mail_server
from tests.sending.people import fill
from tests.sending.working import THREADS

ROOT = Path(__file__).parents[2]
# `make campaign-long` says more.
PARTIES = int(os.environ.get("CAMPAIGN_PARTIES", "500"))
KILLS = int(os.environ.get("CAMPAIGN_KILLS", "3"))
SECONDS = float(os.environ.get("CAMPAIGN_SECONDS", "50"))


class SlowSink(Sink):
    """Takes its time with some mails, after it has them: a process that is killed then has not heard of it."""

    def __init__(self) -> None:
        super().__init__()
        self.slow_from: list[int] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  # as aiosmtpd calls it
        """Take a mail."""
        answer = await super().handle_DATA(server, session, envelope)
        if self.slow_from and len(self.mails) >= self.slow_from[0]:
            await asyncio.sleep(0.2)
        return answer


@pytest.fixture
def mails():
    with mail_server(SlowSink()) as given:
        yield given


@pytest.fixture
def server(serve, peer, mails):
    return serve(service(), peers={"identity": peer.address, "contacts": peer.address}, smtp_url=mails[0])


@pytest.fixture
def campaign(server):
    """A caller, a campaign that was not sent yet, and what must become of it."""
    caller = server.caller()
    topic = caller("CreateTopic", topic={"display_name": "News", "key": "news"}).name
    text = "{{ salutation }} {{ party.given_name }}, {{ unsubscribe_url }}"
    written = {"subject": "Hello {{ party.given_name }}", "text_body": text, "salutation_fallback": "Hello"}
    template = caller("CreateTemplate", template={"display_name": "News", **written}).name
    segment, excluded = (
        caller("CreateSegment", segment={"display_name": name, "kind": "KIND_STATIC"}).name for name in ("All", "Some")
    )
    expected = fill(server.runtime.database, caller.tenant, PARTIES, topic=topic, segment=segment, excluded=excluded)
    about = {"topic": topic, "template": template, "segments": [segment], "excluded_segments": [excluded]}
    sender = {"sender_name": "Example Ltd", "sender_email": "news@example.com"}
    return caller, caller("CreateCampaign", campaign={"display_name": "News", **about, **sender}).name, expected


@contextmanager
def workers(server, url):
    """Yield what kills one of the processes that work on campaigns."""
    given = {"server": server.database.server_url, "database": server.database.name, "smtp": url, "seed": 11}
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    started = subprocess.Popen(  # our own module
        [sys.executable, "-m", "tests.sending.working", json.dumps(given)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def kill() -> None:
        started.stdin.write("\n")
        started.stdin.flush()
        assert started.stdout.readline() == "killed\n"

    try:
        yield kill
    finally:
        started.stdin.close()
        started.wait(20)
        started.stdout.close()


def until(condition, deadline):
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)


@pytest.mark.timeout(SECONDS + 10)
def test_whoever_is_killed_everyone_entitled_has_the_mail_and_nobody_else(server, mails, campaign):
    url, sink = mails
    caller, name, expected = campaign
    begin = time.monotonic()
    deadline = begin + SECONDS

    def now():
        return caller("GetCampaign", name=name)

    with workers(server, url) as kill:
        caller("SendCampaign", name=name)
        # One while it is found out who gets it, the others while mails are under way.
        until(lambda: now().statistics.total, deadline)
        kill()
        step = len(expected.addresses) // KILLS
        for number in range(1, KILLS):
            sink.slow_from = [number * step]
            until(lambda: len(sink.mails) >= sink.slow_from[0], deadline)
            kill()
            sink.slow_from = []
        until(lambda: now().state == Campaign.STATE_SENT, deadline)
    ended = time.monotonic() - begin
    sent = now().statistics
    ids = defaultdict(list)
    for mail in sink.mails:
        ids[mail.recipient].append(mail.message["Message-ID"])
    repeats = sum(len(found) - 1 for found in ids.values())
    assert set(ids) == expected.addresses
    assert all(len(set(found)) == 1 for found in ids.values()), "a repeated mail has another Message-ID"
    assert len({found[0] for found in ids.values()}) == len(ids), "two people have one Message-ID"
    assert repeats <= KILLS * THREADS
    assert (sent.total, sent.sent, sent.failed, sent.pending) == (PARTIES, len(expected.addresses), 0, 0)
    skipped = Counter({each.decision: each.count for each in sent.skipped_by_decision})
    assert skipped + Counter(ALLOWED=sent.sent) == expected.decisions
    print(
        f"{PARTIES} parties, {len(ids)} entitled, {KILLS} kills, {len(sink.mails)} mails of which {repeats}"
        f" repeats with the same Message-ID, {ended:.1f} s"
    )
