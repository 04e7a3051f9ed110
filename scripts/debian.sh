#!/bin/sh
# What the tests need from Debian beside Python: installed where we may, else named.
set -eu

log=${VENV:-.venv}/apt.log
missing=
need() { # command, package
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}

need chromium chromium
need promtool prometheus
need influxd influxdb
need victoria-metrics victoria-metrics
ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || missing="$missing libfaketime"
ls /usr/lib/*/libumockdev-preload.so.0 >/dev/null 2>&1 || missing="$missing umockdev"
[ -x /usr/sbin/i2ctransfer ] || missing="$missing i2c-tools"
[ -x /usr/sbin/mosquitto ] || need mosquitto mosquitto
if [ -z "$missing" ]; then
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing from Debian:$missing"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 - a list of packages
    { apt-get update -q && apt-get install -qy --no-install-recommends $missing; } >"$log" 2>&1 && exit 0
    tail -n 5 "$log" >&2
fi
echo "Labsite: the tests need these packages; install them first:$missing" >&2
exit 1
