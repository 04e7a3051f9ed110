"""What comes with an empty database."""

import pytest

from alerts.models import Revision, Rule, RuleKind

pytestmark = pytest.mark.django_db


def test_every_laboratory_has_the_rules_that_watch_its_own_eyes() -> None:
    kinds = set(Rule.objects.filter(built_in=True).values_list("kind", flat=True))
    assert kinds >= {
        RuleKind.EDGE_SILENT,
        RuleKind.NOT_CONNECTED,
        RuleKind.STALE,
        RuleKind.UNDELIVERED,
        RuleKind.SINK_NOT_FED,
    }
    assert all(Rule.objects.values_list("guidance", flat=True))


def test_each_change_of_rules_is_counted() -> None:
    before = Revision.objects.get().number
    Rule.objects.filter(kind=RuleKind.STALE).update(on_delay=3.0)
    assert Revision.objects.get().number > before
