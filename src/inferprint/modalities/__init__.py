"""Ways of asking a model; one file is one modality, found by its type."""
