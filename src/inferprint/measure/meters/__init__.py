"""Energy meters; one file holds the kinds of one origin, found by their type."""
