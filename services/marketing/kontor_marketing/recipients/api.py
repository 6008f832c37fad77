"""The gRPC service of the recipients of campaigns: to be read only, they are what became of a campaign."""

from __future__ import annotations

from typing import Any

from kontor.marketing.v1 import campaign_recipient_service_pb2
from kontor_kit.methods import ResourceServicer
from kontor_kit.operations.work import Work
from kontor_kit.shared import Shared
from kontor_marketing.recipients.checking import Gate
from kontor_marketing.recipients.preparing import Preparing
from kontor_marketing.recipients.table import CAMPAIGN_RECIPIENT


class CampaignRecipients(ResourceServicer):
    """Serves recipients; `campaigns` keeps the campaigns that they are of."""

    SERVICE = campaign_recipient_service_pb2.DESCRIPTOR.services_by_name["CampaignRecipientService"]
    RESOURCE = CAMPAIGN_RECIPIENT

    def __init__(self, shared: Shared, campaigns: Any, gate: Gate) -> None:
        super().__init__(shared)
        self.campaigns = campaigns
        self.gate = gate
        self._preparing = Preparing(self)

    def prepare_campaign(self, work: Work) -> None:
        """Find out who gets a campaign."""
        self._preparing.run(work)
