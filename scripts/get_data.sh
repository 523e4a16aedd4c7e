#!/bin/sh
# Find Fashion-MNIST, or install Debian's package of it, or say loudly that there is none.
# Usage: get_data.sh BNPARITY CHOSEN; the name of the data set to use is written to the file CHOSEN.
set -eu
bnparity=$1
chosen=$2

find_it() {
    "$bnparity" data --dataset fashion-mnist
}

install_it() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    echo "Fashion-MNIST is not here: installing Debian's package dataset-fashion-mnist"
    apt-get update >/dev/null && apt-get install --yes dataset-fashion-mnist >/dev/null
}

if find_it 2>/dev/null || { install_it && find_it; }; then
    echo fashion-mnist >"$chosen"
else
    find_it || true # says what was tried, and what else there is to do
    echo "**************************************************************************"
    echo "* NO FASHION-MNIST: going on with the SYNTHETIC data set.                *"
    echo "* Its numbers say nothing about Fashion-MNIST; every figure is marked.   *"
    echo "**************************************************************************"
    echo synthetic >"$chosen"
fi
