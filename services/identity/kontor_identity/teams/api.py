"""The gRPC service of teams."""

from kontor.identity.v1 import team_pb2, team_service_pb2
from kontor_identity.scopes import TeamScope
from kontor_identity.teams.table import teams
from kontor_kit.methods import ResourceServicer
from kontor_kit.resource import Resource


class Teams(ResourceServicer):
    """Serves teams."""

    SERVICE = team_service_pb2.DESCRIPTOR.services_by_name["TeamService"]
    RESOURCE = Resource(
        team_pb2.Team,
        teams,
        scope=TeamScope(),
        conflicts={"teams_display_name_key": "there is a team of this name already"},
    )
