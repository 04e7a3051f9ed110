#!/usr/bin/env python3
"""Django's command line for Labsite."""

import os
import sys

from django.core.management import execute_from_command_line

from labsite.env import BadSetting

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "labsite.settings")
    try:
        execute_from_command_line(sys.argv)
    except BadSetting as error:
        sys.exit(f"Labsite: {error}")
