#!/bin/sh
# Find Fashion-MNIST, or install Debian's package of it, or say loudly that there is none.
# Writes the name of the data set to use beside the command that it is given.
set -eu
bnparity=$1
chosen=$(dirname "$(dirname "$bnparity")")/dataset
found=no

try() {
    "$bnparity" data --dataset fashion-mnist && found=yes
}

if ! try 2>/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Fashion-MNIST is not here: installing Debian's package dataset-fashion-mnist"
    { apt-get update && apt-get install --yes dataset-fashion-mnist; } >/dev/null 2>&1 || true
    try || true
elif [ "$found" = no ]; then
    try || true
fi

if [ "$found" = yes ]; then
    echo fashion-mnist >"$chosen"
else
    echo "************************************************************************"
    echo "* NO FASHION-MNIST: going on with the SYNTHETIC data set.               *"
    echo "* Its numbers say nothing about Fashion-MNIST; every figure is marked.  *"
    echo "************************************************************************"
    echo synthetic >"$chosen"
fi
