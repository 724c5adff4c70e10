"""Django OAuth Toolkit as a provider. TOOLKIT_CONFIG: what `Toolkit` in __init__.py writes, as JSON."""

import json
import os
from pathlib import Path

import django
from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.servers.basehttp import run
from django.core.wsgi import get_wsgi_application

config = json.loads(os.environ["TOOLKIT_CONFIG"])
settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(config["folder"]) / "toolkit.sqlite3"}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "oauth2_provider"],
    LOGIN_URL="/log-in/",
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware"],
    OAUTH2_PROVIDER=config["settings"],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],  # nothing here is worth a slow one
    ROOT_URLCONF="urls",
    SECRET_KEY=os.urandom(32).hex(),
    USE_TZ=True,
)
django.setup()
call_command("migrate", verbosity=0)
for username in config["people"]:
    get_user_model().objects.create_user(username, password=config["password"])
for client in config["clients"]:
    apps.get_model("oauth2_provider.Application").objects.create(skip_authorization=True, **client)
run("127.0.0.1", config["port"], get_wsgi_application(), threading=True)
