#!/bin/sh
# Runs the tests. Arguments are passed to pytest; without any, all tests run: in three processes, since most use one core
# and those of measurements mostly wait, so that the others give way to them; and then those that measure how fast
# something is, with the machine to themselves.
set -u
cd "$(dirname "$0")/.."
python=.venv/bin/python

if [ $# -gt 0 ]; then
    exec "$python" -m pytest "$@"
fi

second="tests/cli tests/docs tests/service"
third="tests/measure"
alone="tests/measure/test_own_node.py"
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
ignored=$(for folder in $second $third; do printf ' --ignore=%s' "$folder"; done)
# Their caches would overwrite each other.
nice "$python" -m pytest -p no:cacheprovider $second >"$logs/second" 2>&1 &
of_second=$!
"$python" -m pytest -p no:cacheprovider $third --ignore="$alone" >"$logs/third" 2>&1 &
of_third=$!
nice "$python" -m pytest -p no:cacheprovider $ignored
failed=$?
wait "$of_second" || failed=1
wait "$of_third" || failed=1
cat "$logs/second" "$logs/third"
"$python" -m pytest -p no:cacheprovider $alone || failed=1
exit "$failed"
