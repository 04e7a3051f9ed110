"""Routes of the replaced programs' interfaces."""

from django.urls import path

from labsite.replaced.doors import Door

urlpatterns = [
    path("<str:instrument>/", Door.as_view(), {"path": ""}, name="replaced"),
    path("<str:instrument>/<path:path>", Door.as_view(), name="replaced-path"),
]
