"""A serving technique that comes from another package."""
