"""All settings, from the environment; README's table says what each variable means."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from csp.constants import NONE, SELF

from devices import logs
from labsite import __version__, hosts, keys
from labsite.env import (
    BadSetting,
    env_address,
    env_bool,
    env_choice,
    env_int,
    env_key,
    env_networks,
    env_secret,
    env_text,
)
from labsite.onebox.postgres import Cluster
from labsite.onebox.redis import Broker
from labsite.replaced import ports

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(env_text("LABSITE_DATA", str(BASE_DIR / "var"))).expanduser().resolve()

DEBUG = False
VERSION = __version__
SECRET_KEY = env_secret("LABSITE_SECRET_KEY") or keys.kept(DATA_DIR / "secret.key")
EDGE_MASTER_KEY = env_key("LABSITE_EDGE_MASTER_KEY", lambda: keys.kept(DATA_DIR / "edges.key"))

HOST = env_text("LABSITE_HOST", "127.0.0.1")
PORT = env_int("LABSITE_PORT", 8000, 1, 65535)
REPLACED_HOST = env_address("LABSITE_REPLACED_HOST", "127.0.0.1")
REPLACED_PORTS = ports.parse(env_text("LABSITE_REPLACED_PORTS"))
ALLOWED_HOSTS = [*hosts.answering_to(HOST), *env_text("LABSITE_ALLOWED_HOSTS").split()]
if REPLACED_PORTS:
    ALLOWED_HOSTS += hosts.answering_to(REPLACED_HOST)

INSTALLED_APPS = [
    "labsite.apps.LabsiteConfig",
    "alerts.apps.AlertsConfig",
    "telemetry.apps.TelemetryConfig",
    "devices.apps.DevicesConfig",
    "unfold.apps.BasicAppConfig",
    "labsite.apps.LabsiteAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "knox",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]

# Beat and the workers (labsite.processes) do without what only pages, forms and the API need: 6 MB each.
DOORS = {"unfold.apps.BasicAppConfig", "labsite.apps.LabsiteAdminConfig", "rest_framework", "django_filters"}
DOORS |= {
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django.contrib.messages",
    "django.contrib.staticfiles",
}
if env_bool("LABSITE_WITHOUT_DOORS", default=False):
    INSTALLED_APPS = [name for name in INSTALLED_APPS if name not in DOORS]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "labsite.pages.files.StaticFiles",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "labsite.urls"
ASGI_APPLICATION = "labsite.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "labsite" / "pages" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "labsite.pages.context.for_scripts",
            ]
        },
    }
]


def _database(url: str) -> dict[str, object]:
    """Django's words for a PostgreSQL URL; `host` in its query is a socket's folder."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql") or not parts.path.strip("/"):
        raise BadSetting("LABSITE_DATABASE_URL must be like postgresql://user:password@host:5432/name")
    options = dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.strip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(options.pop("host", parts.hostname or "")),
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 5, **options},
    }


# Without a URL the servers are embedded, and live in the data folder; whatever runs there finds them.
DATABASE_IS_EMBEDDED = not env_secret("LABSITE_DATABASE_URL")
DATABASES = {"default": _database(env_secret("LABSITE_DATABASE_URL") or Cluster(DATA_DIR / "postgres").url())}
BROKER_LISTEN = env_address("LABSITE_BROKER_LISTEN", "127.0.0.1")
BROKER_IS_EMBEDDED = not env_secret("LABSITE_BROKER_URL")
BROKER_URL = env_secret("LABSITE_BROKER_URL") or Broker(DATA_DIR / "redis").url()
# What edges on other hosts are given: the same, but for an embedded broker that listens to them.
BROKER_URL_FOR_EDGES = BROKER_URL
if BROKER_IS_EMBEDDED and BROKER_LISTEN != "127.0.0.1":
    BROKER_URL_FOR_EDGES = Broker(DATA_DIR / "redis").url(hosts.seen_as(BROKER_LISTEN))

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "overview"
LOGOUT_REDIRECT_URL = "login"

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = True
LOCALE_PATHS = [BASE_DIR / "labsite" / "pages" / "locale"]

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "labsite" / "pages" / "static"]

# ---- Pages

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "labsite.pages.files.HashedStorage"},
}
WHITENOISE_USE_FINDERS = True  # before `collectstatic` has run, as in tests
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
KNOX_TOKEN_MODEL = "devices.AccessToken"  # noqa: S105 - a model's name
MIGRATION_MODULES = {"knox": None}  # its own table, replaced by ours, would hold on to users

# ---- API and admin

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "devices.tokens.BearerAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["devices.permissions.ReadOrStaff"],
    "DEFAULT_PAGINATION_CLASS": "devices.paging.Pages",
    "DEFAULT_FILTER_BACKENDS": ["devices.filters.KnownParameters"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["labsite.parsers.ShallowJSON"],
    "DEFAULT_THROTTLE_CLASSES": [
        "rest_framework.throttling.AnonRateThrottle",
        "rest_framework.throttling.UserRateThrottle",
    ],
    "DEFAULT_THROTTLE_RATES": {"anon": "10/second", "user": "50/second"},
    "NUM_PROXIES": 0,  # who asks is the peer's address, not what it says in X-Forwarded-For
    "EXCEPTION_HANDLER": "labsite.api.handle",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
REST_KNOX = {"AUTH_HEADER_PREFIX": "Bearer", "TOKEN_MODEL": KNOX_TOKEN_MODEL, "TOKEN_TTL": None}
SPECTACULAR_SETTINGS = {
    "TITLE": "Labsite",
    "DESCRIPTION": "The instruments of a laboratory, what they report and how they are doing.",
    "VERSION": "1",
    "SCHEMA_PATH_PREFIX": "/api/v1/",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["devices.permissions.ReadOrStaff"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    # Of choices whose fields have one name in many places, or many names.
    "ENUM_NAME_OVERRIDES": {
        "AlarmState": "alerts.lifecycle.State",
        "NoticeKind": "alerts.models.NoticeKind",
        "NoticeState": "alerts.models.NoticeState",
        "Priority": "alerts.api.filters.PRIORITIES",
        "RuleKind": "alerts.models.RuleKind",
        "RunState": "devices.readings.RUN_STATES",
    },
}
UNFOLD = {
    "SITE_TITLE": "Labsite",
    "SITE_HEADER": "Labsite",
    "SITE_SYMBOL": "science",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "labsite.pages.files.icon"}],
    "COLORS": {
        "primary": {  # the pages' ink, lighter and darker
            "50": "#eef5fa",
            "100": "#d9e8f3",
            "200": "#b6d2e7",
            "300": "#8cb6d8",
            "400": "#5b94c3",
            "500": "#3878ab",
            "600": "#1f5a8c",
            "700": "#1a4c77",
            "800": "#163d5f",
            "900": "#122f49",
            "950": "#0c1f31",
        }
    },
}

RETENTION_DAYS = env_int("LABSITE_RETENTION_DAYS", 30, 1, 36_500)
EVENT_RETENTION_DAYS = env_int("LABSITE_EVENT_RETENTION_DAYS", 365, 1, 36_500)
DEMO_RETENTION_DAYS = 2
LONG_RETENTION_DAYS = env_int("LABSITE_LONG_RETENTION_DAYS", 3650, 1, 36_500)
MINUTE_RETENTION_DAYS = env_int("LABSITE_MINUTE_RETENTION_DAYS", 400, 1, 36_500)
HOUR_RETENTION_DAYS = env_int("LABSITE_HOUR_RETENTION_DAYS", 3650, 1, 36_500)
OUTBOX_DAYS = env_int("LABSITE_OUTBOX_DAYS", 7, 1, 366)  # what a dead sink finds when it is back
DEMO = env_bool("LABSITE_DEMO", default=True)

# ---- Notices

PUBLIC_URL = env_text("LABSITE_PUBLIC_URL").rstrip("/")
SMTP_URL = env_secret("LABSITE_SMTP_URL")
MAIL_FROM = env_text("LABSITE_MAIL_FROM")
DEADMAN_URL = env_secret("LABSITE_DEADMAN_URL")

# ---- Prometheus: who may scrape without a token

METRICS_NETWORKS = env_networks("LABSITE_METRICS_NETWORKS")

# ---- Logs

LOG_LEVEL = env_choice("LABSITE_LOG_LEVEL", "INFO", logs.LEVELS)
LOG_FORMAT = env_choice("LABSITE_LOG_FORMAT", "text", logs.FORMS)
LOGGING = logs.configuration(LOG_LEVEL, LOG_FORMAT)

# ---- Matrix: without a homeserver there is no bot

MATRIX_HOMESERVER = env_text("LABSITE_MATRIX_HOMESERVER")
MATRIX_USER = env_text("LABSITE_MATRIX_USER")
MATRIX_PASSWORD = env_secret("LABSITE_MATRIX_PASSWORD")
MATRIX_DEVICE = env_text("LABSITE_MATRIX_DEVICE", "labsite")
MATRIX_ALLOW_VERIFICATION = env_bool("LABSITE_MATRIX_ALLOW_VERIFICATION", default=False)

# ---- MQTT: without a broker there is no bridge

MQTT_URL = env_text("LABSITE_MQTT_URL")
MQTT_USER = env_text("LABSITE_MQTT_USER")
MQTT_PASSWORD = env_secret("LABSITE_MQTT_PASSWORD")
MQTT_CA = env_text("LABSITE_MQTT_CA")
MQTT_VERSION = env_choice("LABSITE_MQTT_VERSION", "5", ("3.1.1", "5"))
MQTT_PREFIX = env_text("LABSITE_MQTT_PREFIX", "labsite")
# Set, but empty: nothing for Home Assistant.
MQTT_DISCOVERY_PREFIX = os.environ.get("LABSITE_MQTT_DISCOVERY_PREFIX", "homeassistant").strip()

# ---- Behind HTTPS: a proxy that ends TLS and sets X-Forwarded-Proto is in front (LABSITE_HTTPS=1)

HTTPS = env_bool("LABSITE_HTTPS", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^api/v1/health/$"]  # asked from this machine, without the proxy
SECURE_HSTS_SECONDS = 30 * 86_400 if HTTPS else 0
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_AGE = 14 * 86_400
# Subdomains are other people's, and a browser's preload list is not for a laboratory's network.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "labsite.settings")
