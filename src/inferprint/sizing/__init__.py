"""Sizes and shapes of models that are not published."""
