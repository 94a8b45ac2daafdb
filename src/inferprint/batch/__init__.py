"""Usage tables to impacts: files in, a folder of results out."""

from inferprint.batch.options import RunOptions
from inferprint.batch.process import run
from inferprint.batch.summary import Counts, Summary

__all__ = ["Counts", "RunOptions", "Summary", "run"]
