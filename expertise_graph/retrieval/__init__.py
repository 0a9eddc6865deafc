"""Which expert to start from: history, the graph, evidence on the task, and what to run next."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.retrieval.backtest_plan import (
        Backtest,
        HeldOutTask,
        read_baseline,
        read_plan,
    )
    from expertise_graph.retrieval.backtesting import backtest
    from expertise_graph.retrieval.constraints import within_limits
    from expertise_graph.retrieval.estimates import PlanOf, estimates_for
    from expertise_graph.retrieval.evidence import Sample, draw_sample
    from expertise_graph.retrieval.explanation import Explanation, explain
    from expertise_graph.retrieval.knowledge import Knowledge, is_free, is_known_model, is_loadable
    from expertise_graph.retrieval.query import Ask, Expected, RaceResults, answer_query, ask_within
    from expertise_graph.retrieval.results import AUTO, RACE, Measured, measured
    from expertise_graph.retrieval.task_similarity import task_vectors

__getattr__, __dir__, __all__ = door(__name__)
