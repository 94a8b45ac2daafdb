"""Serving techniques; one file is one technique, found by its type."""
