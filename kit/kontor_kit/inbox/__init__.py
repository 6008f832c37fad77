"""The inbox: events of other services, each handled once, whatever way and how often they arrive.

events      the declaration of a handler: `on("kontor.identity.v1.user.deactivated")`
schema      the tables
receiving   puts events into the inbox, together with the position they came from
following   one way to get events: the change streams of the services that tell them
handling    runs the handlers: effect and mark in one transaction
running     makes the jobs of a service that has handlers
upkeep      lists, replays and discards what could not be handled
"""
