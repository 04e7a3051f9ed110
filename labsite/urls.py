"""Routes."""

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import URLPattern, URLResolver, include, path

from labsite.pages import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.overview, name="overview"),
    path("instruments/<uuid:pk>/", views.instrument, name="instrument"),
    path("instruments/<uuid:pk>/chart/", views.chart, name="chart"),
    path("instruments/<uuid:pk>/beside/", views.beside, name="beside"),
    path("favicon.ico", views.favicon),
    path("live/", views.live, name="live"),
    path("login/", views.Login.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("admin/login/", views.admin_login),
    path("admin/", admin.site.urls),
    path("api/v1/", include("labsite.api")),
]
