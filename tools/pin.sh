#!/bin/sh
# Pins requirements/*.txt from pyproject.toml and requirements/build.in, with hashes, for every supported Python.
# Options are passed to uv: --upgrade takes the newest releases, --upgrade-package NAME takes one.
set -eu
cd "$(dirname "$0")/.."

# PySpark is published as source alone; it holds no code to compile.
compile() { # OUTPUT EXTRAS...
    output=$1
    shift
    .venv/bin/uv pip compile --quiet --system-certs --universal --python-version 3.11 --fork-strategy fewest \
        --only-binary :all: --no-binary pyspark --generate-hashes --no-header --no-annotate --no-emit-index-url \
        pyproject.toml requirements/build.in --output-file "$output" "$@"
}

compile requirements/runtime.txt --extra run "$@"
compile requirements/serve.txt --extra serve --constraints requirements/runtime.txt "$@"
compile requirements/dev.txt --extra run --extra serve --extra measure --extra fit --extra validate --extra dev \
    --constraints requirements/serve.txt "$@"
