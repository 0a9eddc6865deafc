"""What the catalogue is built from beside tables of others: models by their pages, and networks by name."""
