"""Routes."""

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import URLPattern, URLResolver, include, path

from labsite.metrics.views import InstrumentMetrics, Metrics, OwnMetrics
from labsite.pages import alarm_views, completeness, storage, views

urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.overview, name="overview"),
    path("instruments/<uuid:pk>/", views.instrument, name="instrument"),
    path("instruments/<uuid:pk>/chart/", views.chart, name="chart"),
    path("instruments/<uuid:pk>/beside/", views.beside, name="beside"),
    path("instruments/<uuid:pk>/alarms/", alarm_views.of_instrument, name="instrument-alarms"),
    path("alarms/", alarm_views.standing, name="alarms"),
    path("alarms/list/", alarm_views.standing_list, name="alarms-list"),
    path("alarms/few/", alarm_views.few, name="alarms-few"),
    path("alarms/<int:pk>/", alarm_views.one, name="alarm"),
    path("alarms/<int:pk>/facts/", alarm_views.facts, name="alarm-facts"),
    path("alarms/<int:pk>/<slug:what>/", alarm_views.act, name="alarm-act"),
    path("storage/", storage.page, name="storage"),
    path("completeness/", completeness.page, name="completeness"),
    path("favicon.ico", views.favicon),
    path("live/", views.live, name="live"),
    path("login/", views.Login.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("admin/login/", views.admin_login),
    path("admin/", admin.site.urls),
    path("api/v1/", include("labsite.api")),
    path("replaced/", include("labsite.replaced.urls")),
    path("metrics", Metrics.as_view(), name="metrics"),
    path("metrics/labsite", OwnMetrics.as_view(), name="metrics-labsite"),
    path("metrics/instruments", InstrumentMetrics.as_view(), name="metrics-instruments"),
]
