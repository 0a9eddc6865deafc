"""How the starter data is made: labelled sets from published packages, and the training on them."""
