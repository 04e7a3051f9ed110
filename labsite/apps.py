from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig

from labsite import checks
from labsite.celery import app as celery_app

__all__ = ["LabsiteAdminConfig", "LabsiteConfig", "celery_app"]  # any process that sends a task needs the app


class LabsiteConfig(AppConfig):
    name = "labsite"
    verbose_name = "Labsite"

    def ready(self) -> None:
        checks.register_all()


class LabsiteAdminConfig(AdminConfig):
    """Django's admin, on Labsite's own site."""

    default_site = "labsite.admin_site.LabsiteAdminSite"
