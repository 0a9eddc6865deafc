"""How well the registry would have predicted its own history: leave one task, or some experts, out."""
