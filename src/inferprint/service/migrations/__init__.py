"""The tables of the database, release by release; `inferprint.service.database` runs what is missing.

A change of `inferprint.service.tables` gets a new module in `versions`, and its revision becomes `HEAD`; the tests
compare both. A module that was released is never changed.
"""

HEAD = "0001"
"""Revision of the tables that this release works with."""

VERSION_TABLE = "inferprint_version"
"""Table of one row, which names the revision of the tables."""
