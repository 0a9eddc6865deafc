"""How well the registry would have predicted its own history: leave one task, or some experts, out."""

from expertise_graph.backtest.plan import Backtest, Plan, Task, read_plan
from expertise_graph.backtest.run import Progress, backtest
from expertise_graph.backtest.vanilla import read_baseline

__all__ = ["Backtest", "Plan", "Progress", "Task", "backtest", "read_baseline", "read_plan"]
