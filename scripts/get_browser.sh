#!/bin/sh
# Find Chromium and its driver, or install Debian's packages of them, or say that there are none.
set -eu

is_here() {
    command -v chromium >/dev/null && command -v chromedriver >/dev/null
}

install_it() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    echo "no browser is here: installing Debian's packages chromium and chromium-driver"
    apt-get update >/dev/null && apt-get install --yes --no-install-recommends chromium chromium-driver >/dev/null
}

is_here || install_it ||
    echo "no Chromium with its driver is here: the tests of pages in a browser are skipped, and fail with CI=true"
