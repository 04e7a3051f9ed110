from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class LabsiteConfig(AppConfig):
    name = "labsite"
    verbose_name = "Labsite"


class LabsiteAdminConfig(AdminConfig):
    """Django's admin, on Labsite's own site."""

    default_site = "labsite.admin_site.LabsiteAdminSite"
