"""Which expert to start from: history, the graph, evidence on the task, and what to run next."""
