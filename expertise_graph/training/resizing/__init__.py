"""A smaller network of the expert's architecture that starts from the expert's weights."""
