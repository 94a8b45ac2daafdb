"""Sources of measurements: one file each says how to read what its rows leave open."""
