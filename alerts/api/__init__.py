"""The API of alarms: rules, alarms and their journal, contacts, routes, notices and figures."""

from rest_framework.routers import BaseRouter

from alerts.api.alarms import AlarmViewSet, JournalViewSet
from alerts.api.contacts import ContactViewSet, NoticeViewSet, RouteViewSet
from alerts.api.figures import StatisticsViewSet
from alerts.api.proposals import ProposalViewSet
from alerts.api.rules import RuleViewSet


def register(router: BaseRouter) -> None:
    """Add this app's routes."""
    router.register("rules", ProposalViewSet, basename="proposals")  # before the rules: no rule is `proposed`
    router.register("rules", RuleViewSet)
    router.register("alarms", AlarmViewSet)
    router.register(r"alarms/(?P<pk>[^/.]+)/journal", JournalViewSet, basename="journal")
    router.register("contacts", ContactViewSet)
    router.register("routes", RouteViewSet)
    router.register("notices", NoticeViewSet)
    router.register("alarm-statistics", StatisticsViewSet, basename="alarm-statistics")
