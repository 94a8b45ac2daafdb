#!/bin/sh
# Runs the tests. Arguments are passed to pytest; without any, all tests run in two processes, since most of them wait for
# nothing and use one core.
set -u
cd "$(dirname "$0")/.."
python=.venv/bin/python

if [ $# -gt 0 ]; then
    exec "$python" -m pytest "$@"
fi

apart="tests/calibration tests/cli tests/docs tests/service"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
ignored=$(for folder in $apart; do printf ' --ignore=%s' "$folder"; done)
# Their caches would overwrite each other.
"$python" -m pytest -p no:cacheprovider $apart >"$log" 2>&1 &
other=$!
"$python" -m pytest -p no:cacheprovider $ignored
first=$?
wait "$other"
second=$?
cat "$log"
[ "$first" -eq 0 ] && [ "$second" -eq 0 ]
