"""Conversions between the SI units used inside and the everyday units used outside."""

from __future__ import annotations

JOULES_PER_KWH = 3.6e6
JOULES_PER_WH = 3600.0
SECONDS_PER_HOUR = 3600.0
SECONDS_PER_YEAR = 365.25 * 24 * 3600.0
GRAMS_PER_KG = 1000.0
ML_PER_L = 1000.0
MS_PER_S = 1000.0
BILLION = 1e9
TERA = 1e12
GIGA = 1e9
BYTES_PER_GB = 1e9
