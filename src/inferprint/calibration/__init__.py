"""From measurements to coefficients, and how good they are on what they have not seen."""
