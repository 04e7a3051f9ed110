"""The admin of what happened and of what is missing: to look at."""

from django.contrib import admin

from devices.admin import ForStaff
from telemetry.models import Event, Gap


@admin.register(Event)
class EventAdmin(ForStaff):
    list_display = ("time", "instrument", "kind", "text")
    list_filter = ("instrument__edge",)
    list_select_related = ("instrument",)
    search_fields = ("instrument__name", "kind", "text")
    date_hierarchy = "time"
    show_full_result_count = False


@admin.register(Gap)
class GapAdmin(ForStaff):
    list_display = ("edge", "instrument", "key", "start", "end", "reason", "count")
    list_filter = ("reason", "edge")
    list_select_related = ("edge", "instrument")
    search_fields = ("instrument__name", "key")
    date_hierarchy = "start"
