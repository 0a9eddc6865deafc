"""What every room may use: errors, the nouns of the package, plug-ins, files, text and statistics."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.core.errors import (
        DatasetError,
        ExpertiseError,
        FailedError,
        GatedError,
        InvalidInputError,
        MissingExtraError,
        NewerSchemaError,
        NotFoundError,
        OfflineError,
        SourceError,
        StoreError,
        TemporaryError,
        UntrustedError,
        did_you_mean,
        disk_errors,
        expert_errors,
        first_line,
        is_out_of_memory,
        nearest,
        reason_of,
    )
    from expertise_graph.core.files import (
        finish_tree,
        new_folder,
        path_part,
        read_json,
        read_json_object,
        remove,
        remove_leftovers,
        replacing,
        sha256_of_bytes,
        sha256_of_file,
        sha256_of_json,
        sha256_of_texts,
        sync,
        write_bytes,
        write_json,
        write_text,
    )
    from expertise_graph.core.footprint import FOOTPRINT, Footprint
    from expertise_graph.core.keys import KEY_DIGITS, item_keys
    from expertise_graph.core.locks import locked, on_network, refuse_in_use
    from expertise_graph.core.metrics import log_softmax, sigmoid, softmax
    from expertise_graph.core.numbers import MISSING, MOST_SEED, marks_of, number, plain, whole
    from expertise_graph.core.outputs import ARRAYS, DATABASE, check_no_workspace, check_output
    from expertise_graph.core.plugins import Registry
    from expertise_graph.core.processes import Stopwatch, is_gone, process_name, process_started
    from expertise_graph.core.progress import Progress, silent
    from expertise_graph.core.stats import (
        Z_80,
        Z_95,
        chi2_quantile,
        normal_cdf,
        normal_pdf,
        pearson,
        ranks,
        spearman,
        t_quantile,
        wilson,
    )
    from expertise_graph.core.text import (
        byte_size,
        compact_number,
        count,
        duration,
        exact_number,
        inline,
        listed,
        percent,
        printable,
        setting,
        shorten,
        with_settings,
    )
    from expertise_graph.core.types import (
        CARD_METHOD,
        LENGTHS,
        METADATA,
        SELF_REPORTED,
        UNKNOWN,
        USER_METHOD,
        Baseline,
        BoolArray,
        Candidate,
        Command,
        Edge,
        Embedding,
        EvidenceSource,
        Excluded,
        Expert,
        FloatArray,
        IntArray,
        Needs,
        Neighbour,
        ProbeSet,
        Proposal,
        Query,
        Ranking,
        Run,
        Score,
        Task,
        TaskDistance,
        WarmStart,
    )

__getattr__, __dir__, __all__ = door(__name__)
