"""Equations that turn energy and hardware into environmental impact; numbers in, numbers out."""
