#!/bin/sh
# Sets up .venv from the pinned requirements, and does nothing when it is up to date.
#
#   tools/bootstrap.sh run    what `inferprint` and `inferprint run` need
#   tools/bootstrap.sh dev    the same, and what the checks, tests and benchmarks need
#
# PYTHON names the interpreter to use; otherwise the first suitable python3 on PATH is taken.
set -eu
cd "$(dirname "$0")/.."

venv=.venv
level=${1:-}
case $level in
    run) pins=requirements/runtime.txt ;;
    dev) pins=requirements/dev.txt ;;
    *)
        echo "usage: tools/bootstrap.sh run|dev" >&2
        exit 2
        ;;
esac

# A level is up to date when its pins, the project file, this script and the folder are those it was installed from.
key_of() {
    { pwd && cat pyproject.toml tools/bootstrap.sh "$1"; } | cksum
}
current() { # LEVEL PINS
    [ -x "$venv/bin/python" ] && [ -f "$venv/$1.key" ] && [ "$(cat "$venv/$1.key")" = "$(key_of "$2")" ]
}
new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}
find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    asked=${PYTHON:-python3}
    found=$("$asked" -c 'import platform; print(platform.python_version())' 2>/dev/null || echo "not there")
    echo "Inferprint needs Python 3.11 or newer; $asked is $found." >&2
    echo "Install one, or name it: make PYTHON=/path/to/python3.11 ..." >&2
    return 1
}

if current "$level" "$pins"; then
    exit 0
fi

# The development level holds everything of the run level and is installed on top of it; any other change starts afresh.
if ! { [ "$level" = dev ] && current run requirements/runtime.txt; }; then
    python=$(find_python)
    echo "Setting up $venv with $("$python" --version) ..."
    if ! "$python" -m venv --clear "$venv"; then
        echo "'$python -m venv' failed; on Debian and Ubuntu it is in the package python3-venv." >&2
        exit 1
    fi
fi
rm -f "$venv/dev.key"
pip="$venv/bin/python -m pip --disable-pip-version-check --quiet"
$pip install --require-hashes --only-binary :all: -r requirements/runtime.txt
if [ "$level" = dev ]; then
    # PySpark is published as source alone; it is built with what the line above installed, and holds no code to compile.
    $pip install --require-hashes --only-binary :all: --no-binary pyspark --no-build-isolation -r "$pins"
fi
$pip install --no-deps --no-build-isolation -e .
key_of requirements/runtime.txt >"$venv/run.key"
if [ "$level" = dev ]; then
    key_of "$pins" >"$venv/dev.key"
fi
