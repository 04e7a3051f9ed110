"""The admin of what is missing: to look at."""

from django.contrib import admin

from devices.admin import ForStaff
from telemetry.models import Gap


@admin.register(Gap)
class GapAdmin(ForStaff):
    list_display = ("edge", "instrument", "key", "start", "end", "reason", "count")
    list_filter = ("reason", "edge")
    list_select_related = ("edge", "instrument")
    search_fields = ("instrument__name", "key")
    date_hierarchy = "start"
