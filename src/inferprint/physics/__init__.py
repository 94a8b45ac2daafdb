"""Equations of inference hardware: numbers in, numbers out, NumPy and nothing else."""
