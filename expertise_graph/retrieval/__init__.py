"""Which expert to start from: history, the graph, evidence on the task, and what to run next."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.retrieval.backtesting.plan import Backtest, Plan, Task, read_plan
    from expertise_graph.retrieval.backtesting.run import backtest
    from expertise_graph.retrieval.backtesting.vanilla import read_baseline
    from expertise_graph.retrieval.engine import Registry, answer_query
    from expertise_graph.retrieval.evidence import ProbeRunner, Sample, measured
    from expertise_graph.retrieval.explanation import Explanation, explain
    from expertise_graph.retrieval.history_loader import AUTO, RACE, task_vectors
    from expertise_graph.retrieval.posterior import Belief, believe
    from expertise_graph.retrieval.search import Search

__getattr__, __dir__, __all__ = door(__name__)
