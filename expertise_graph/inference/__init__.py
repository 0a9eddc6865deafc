"""Using a finished model: predictions, their quality, and the model as a file for other programs."""
