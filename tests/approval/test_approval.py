"""A registration is approved and its opportunity stands, or neither, whenever the worker is killed (SIGKILL)."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest

from kontor_partners import service as partners_service
from kontor_partners.deal_registrations import rules
from kontor_sales import service as sales_service
from services.partners.tests import partnering
from services.partners.tests.registering import customer, events, pending

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sales(serve, peer):
    return serve(sales_service.service(), peers={"identity": peer.address, "contacts": peer.address})


@pytest.fixture(scope="module")
def partners(serve, sales, peer):
    peers = {"identity": peer.address, "contacts": peer.address, "sales": sales.address}
    return serve(partners_service.service(), peers=peers)


@pytest.fixture
def anna(partners, sales):
    """Somebody who may do everything; `anna.sales` calls sales."""
    caller = partners.caller()
    caller.sales = sales.caller(tenant=caller.tenant, user=caller.user)
    return caller


@pytest.fixture(scope="module")
def worker(partners, sales):
    """Runs the worker: `worker(caller, at, cancel)` tells whether it was killed before all was done."""
    database = partners.database
    given = {"server": database.server_url, "database": database.name, "sales": sales.address}
    with subprocess.Popen(  # our own module
        [sys.executable, "-m", "tests.approval.working", json.dumps(given)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as started:

        def work(caller, *, at, cancel):
            told = {"token": caller.sales.token, "at": at, "cancel": cancel}
            started.stdin.write(json.dumps(told) + "\n")
            started.stdin.flush()
            answer = started.stdout.readline().strip()
            assert answer in ("killed", "ended")
            return answer == "killed"

        yield work


@pytest.mark.parametrize("cancel", [False, True], ids=["", "cancelled"])
@pytest.mark.parametrize("linked", [False, True], ids=["created", "linked"])
def test_everything_or_nothing_and_once(anna, worker, linked, cancel):
    product = anna.sales("CreateProduct", product={"display_name": "Robot", "sku": "R1"}).name
    north = partnering.active(anna, partnering.programme(anna), display_name="North")
    for at in itertools.count(1):
        if not worked(anna, worker, north, product, linked=linked, at=at, cancel=cancel):
            break
    # To take it, to begin and to end each of two steps, to prolong the lease and to call, and to end the saga.
    assert at > 8


def worked(caller, worker, partner, product, *, linked, **how):
    """Approve a new registration with a worker that is killed; hold what became of it against what may."""
    made = patient(lambda: pending(caller, partner, end_customer=customer(), products=[product]))
    there = caller.sales("CreateOpportunity", opportunity={"display_name": "Ours"}) if linked else None
    before = {deal.name for deal in deals(caller)}
    opportunity = there.name if there else ""
    begun = patient(lambda: caller("ApproveDealRegistration", name=made.name, opportunity=opportunity))
    killed = worker(caller, **how)
    after, operation = caller("GetDealRegistration", name=made.name), caller("GetOperation", name=begun.name)
    new = [deal for deal in deals(caller) if deal.name not in before]
    told = events(caller, made.name)
    assert operation.done, how
    if operation.HasField("response"):
        [deal] = [caller.sales("GetOpportunity", name=there.name)] if there else new
        assert (after.state, after.opportunity, len(new)) == (rules.APPROVED, deal.name, not linked), how
        assert (deal.partner, deal.partner_protection_end_time) == (partner.account, after.protection_end_time), how
        assert told[-2:] == ["approval_started", "approved"], how
    else:
        assert how["cancel"], operation.error
        assert (after.state, after.opportunity, new) == (rules.PENDING, "", []), how
        assert told[-2:] == ["approval_started", "approval_failed"], how
        if there:
            left = caller.sales("GetOpportunity", name=there.name)
            assert (left.partner, left.HasField("partner_protection_end_time")) == ("", False), how
    return killed


def patient(ask):
    """Ask until it is answered: a busy machine may take longer than the moment that a look elsewhere is given."""
    for _ in range(50):
        try:
            return ask()
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        time.sleep(0.1)
    raise AssertionError("it is never answered")


def deals(caller):
    """Return the opportunities that are there, and not deleted."""
    return caller.sales("ListOpportunities", page_size=1000).opportunities
