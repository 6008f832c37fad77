"""Stands for sales: what keeps opportunities for sagas, and what answers those who ask before."""

from __future__ import annotations

from dataclasses import dataclass, field

import grpc

from kontor.sales.v1 import opportunity_pb2
from kontor_kit.ids import uuid7
from kontor_kit.testing.running import Peer

OPEN, LOST = opportunity_pb2.Opportunity.STATE_OPEN, opportunity_pb2.Opportunity.STATE_LOST


@dataclass
class Sales:
    """Stands for sales: keeps opportunities, and answers what bears the same request id as before."""

    opportunities: dict[str, opportunity_pb2.Opportunity] = field(default_factory=dict)
    answers: dict[str, opportunity_pb2.Opportunity] = field(default_factory=dict)
    failures: list[Exception] = field(default_factory=list)
    """Raised by the next calls that write."""
    lost: list[Exception] = field(default_factory=list)
    """Raised by the next calls that write, once it is done."""

    def __call__(self, method, request, *, tenant_id, subject, request_id):
        if method.name == "GetOpportunity":
            return self.opportunities[request.name]
        if self.failures:
            raise self.failures.pop()
        if request_id not in self.answers:
            self.answers[request_id] = getattr(self, method.name)(request)
        if self.lost:
            raise self.lost.pop()
        return self.answers[request_id]

    def CreateOpportunity(self, request):  # noqa: N802  # as the method is called
        return self.add(request.opportunity)

    def add(self, opportunity):
        made = opportunity_pb2.Opportunity()
        made.CopyFrom(opportunity)
        made.name, made.state, made.etag = f"opportunities/{uuid7()}", OPEN, "v1"
        self.opportunities[made.name] = made
        return made

    def UpdateOpportunity(self, request):  # noqa: N802
        stored = self.opportunities[request.opportunity.name]
        for path in request.update_mask.paths:
            stored.ClearField(path)
        given = opportunity_pb2.Opportunity()
        request.update_mask.MergeMessage(request.opportunity, given)
        stored.MergeFrom(given)
        stored.etag = f"v{int(stored.etag[1:]) + 1}"
        return stored

    def DeleteOpportunity(self, request):  # noqa: N802
        return self.opportunities.pop(request.name)


class Asked(Peer):
    """Answers what is asked of sales before anything is stored."""

    def __init__(self) -> None:
        super().__init__()
        self.sales = Sales()

    def _get(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        name = data[2 : 2 + data[1]].decode(errors="ignore")
        found = self.sales.opportunities.get(name)
        return found.SerializeToString() if found is not None else b""
