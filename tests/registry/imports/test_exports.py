"""Exports of MLflow, Weights & Biases and timm: which column is what, which runs count, and what is said."""

import pytest

from expertise_graph.core.errors import ExpertiseError
from expertise_graph.registry.imports.history import import_history
from expertise_graph.registry.imports.options import HistoryOptions

# As the button of the page writes it, and as mlflow.search_runs does.
MLFLOW_PAGE = """\
Start Time,Duration,Run ID,Name,Source Type,Source Name,User,Status,dataset,lr,model_name,seed,\
test_acc,test_loss,train_acc,val_acc,mlflow.note
2026-01-02 10:00:00,3.5min,r1,a-pets,LOCAL,train.py,me,FINISHED,pets,0.01,org/a,0,0.91,0.4,0.99,0.93,
2026-01-02 11:00:00,1s,r2,b-pets,LOCAL,train.py,me,FAILED,pets,0.01,org/b,0,,,0.5,,
2026-01-02 12:00:00,4.1min,r3,b-pets,LOCAL,train.py,me,FINISHED,pets,0.01,org/b,0,0.85,0.6,0.98,0.84,
2026-01-02 12:00:00,4.1min,r4,c-pets,LOCAL,train.py,me,RUNNING,pets,0.01,org/c,0,0.10,0.6,0.98,0.84,
2026-01-02 13:00:00,4.1min,r5,d-pets,LOCAL,train.py,me,FINISHED,pets,0.01,org/d,0,nan,0.6,0.98,0.84,
"""
MLFLOW_FRAME = """\
run_id,experiment_id,status,artifact_uri,start_time,end_time,metrics.eval_accuracy,metrics.eval_loss,\
metrics.train_runtime,params.model_name_or_path,params.dataset_name,params.top_k,params.seed,tags.mlflow.runName
r1,0,FINISHED,s3://x,2026-01-02 10:00:00+00:00,2026-01-02 11:00:00+00:00,0.91,0.4,100.5,org/a,glue,5,1,x
r2,0,FAILED,s3://x,2026-01-02 10:00:00+00:00,2026-01-02 11:00:00+00:00,0.2,0.4,100.5,org/b,glue,5,1,y
"""
WANDB = """\
"Name","State","Notes","User","Tags","Created","Runtime","Sweep","dataset","model","seed","epoch",\
"train/acc","val/acc","test/acc","test/f1"
"bright-1","finished","-","me","","2026-01-02T10:00:00.000Z","120","","pets","org/a","0","10","0.99","0.92","0.9","0.8"
"dim-2","crashed","-","me","","2026-01-02T10:00:00.000Z","7","","pets","org/b","0","1","0.2","0.1","0.1","0.1"
"calm-3","finished","-","me","","2026-01-02T10:00:00.000Z","130","","cars","org/b","1","10","0.99","0.72","0.7","0.6"
"""
WANDB_FRAME = """\
model_name,task,lr,_runtime,_step,_timestamp,val_accuracy,name,state
org/a,pets,0.1,12.5,100,1700000000,0.9,bright-1,finished
org/b,pets,0.1,1.5,3,1700000000,,dim-2,failed
"""
TIMM = """\
model,img_size,top1,top1_err,top5,top5_err,param_count,crop_pct,interpolation,top1_diff,top5_diff,rank_diff
eva_giant_patch14_336.clip_ft_in1k,336,90.517,9.483,97.213,2.787,"1,013.01",1.000,bicubic,-7.343,-2.687,+4
resnet50.a1_in1k,224,80.2,19.8,94.6,5.4,25.56,0.950,bicubic,-1.0,-0.5,0
"""
# The script of the guide to the public API: two columns of dictionaries as Python prints them.
WANDB_DICTIONARIES = """\
,summary,config,name
0,"{'_wandb': {'runtime': 9}, '_step': 3, '_runtime': 9.5, 'train/acc': 0.99, 'test/acc': 0.9}",\
"{'model': {'name': 'org/a', 'depth': 12}, 'data': {'name': 'pets'}, 'seed': 0, 'lr': nan}",bright-1
1,"{'_step': 1, '_runtime': 1.5, 'train/acc': nan}",\
"{'model': {'name': 'org/b'}, 'data': {'name': 'pets'}}",dim-2
2,{},{},empty-3
"""
# The page parts nested configurations by dots, Hydra's users and MLflow by dots or slashes.
WANDB_NESTED = """\
"Name","State","Notes","User","Tags","Created","Runtime","Sweep","backbone.name","dataset.id","eval.accuracy"
"bright-1","finished","-","me","","2026-01-02T10:00:00.000Z","120","","org/a","pets","0.9"
"""
MLFLOW_DICTIONARIES = """\
info,data
"{'run_id': 'r1', 'experiment_id': '0', 'status': 'FINISHED'}",\
"{'metrics': {'eval_accuracy': 0.91}, 'params': {'model/name': 'org/a', 'dataset_name': 'glue'}, 'tags': {}}"
"{'run_id': 'r2', 'experiment_id': '0', 'status': 'FAILED'}",\
"{'metrics': {'eval_accuracy': 0.5}, 'params': {'model/name': 'org/b', 'dataset_name': 'glue'}, 'tags': {}}"
"""
CASES = {
    "wandb dictionaries": (
        WANDB_DICTIONARIES,
        "project.csv",
        "Weights & Biases: model from 'config.model.name', task from 'config.data.name', "
        "accuracy from 'summary.test/acc'",
    ),
    "wandb nested": (
        WANDB_NESTED,
        "wandb_export.csv",
        "Weights & Biases: model from 'backbone.name', task from 'dataset.id', accuracy from 'eval.accuracy'",
    ),
    "mlflow dictionaries": (
        MLFLOW_DICTIONARIES,
        "runs.csv",
        "MLflow: model from 'data.params.model/name', task from 'data.params.dataset_name', "
        "accuracy from 'data.metrics.eval_accuracy'",
    ),
    "mlflow page": (
        MLFLOW_PAGE,
        "runs.csv",
        "MLflow: model from 'model_name', task from 'dataset', accuracy from 'test_acc'",
    ),
    "mlflow frame": (
        MLFLOW_FRAME,
        "runs.csv",
        "MLflow: model from 'params.model_name_or_path', task from 'params.dataset_name', "
        "accuracy from 'metrics.eval_accuracy'",
    ),
    "wandb": (
        WANDB,
        "wandb_export.csv",
        "Weights & Biases: model from 'model', task from 'dataset', accuracy from 'test/acc'",
    ),
    "wandb frame": (
        WANDB_FRAME,
        "project.csv",
        "Weights & Biases: model from 'model_name', task from 'task', accuracy from 'val_accuracy'",
    ),
    "timm": (
        TIMM,
        "results-imagenet-a.csv",
        "timm: model from 'model', task 'imagenet-a', accuracy from 'top1'",
    ),
}
TOOLS = {
    "mlflow page": "mlflow",
    "mlflow frame": "mlflow",
    "wandb": "wandb",
    "wandb frame": "wandb",
    "timm": "timm",
}
FOUND = {
    "wandb dictionaries": {("org/a", "pets", "accuracy", 0.9, 0)},
    "wandb nested": {("org/a", "pets", "accuracy", 0.9, None)},
    "mlflow dictionaries": {("org/a", "glue", "accuracy", 0.91, None)},
    "mlflow page": {("org/a", "pets", "accuracy", 0.91, 0), ("org/b", "pets", "accuracy", 0.85, 0)},
    "mlflow frame": {("org/a", "glue", "accuracy", 0.91, 1)},
    "wandb": {("org/a", "pets", "accuracy", 0.9, 0), ("org/b", "cars", "accuracy", 0.7, 1)},
    "wandb frame": {("org/a", "pets", "accuracy", 0.9, None)},
    "timm": {
        ("timm:eva_giant_patch14_336.clip_ft_in1k", "imagenet-a", "accuracy", 0.90517, None),
        ("timm:resnet50.a1_in1k", "imagenet-a", "accuracy", 0.802, None),
    },
}
OUT = {
    "wandb dictionaries": {"without a value": 2},
    "wandb nested": {},
    "mlflow dictionaries": {"of runs that did not finish": 1},
    "mlflow page": {"of runs that did not finish": 2, "without a value": 1},
    "mlflow frame": {"of runs that did not finish": 1},
    "wandb": {"of runs that did not finish": 1},
    "wandb frame": {"of runs that did not finish": 1},
    "timm": {},
}


def stored(store):
    names = {n.id: n.name for n in (*store.experts(), *store.tasks())}
    return {
        (names[e.source], names[e.target], e.metric, round(e.weight, 9), e.seed)
        for e in store.edges("transfer")
    }


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_an_export_is_known_by_its_columns(store, table, case, named):
    text, name, understood = CASES[case]
    report = import_history(
        store, table(text, name), HistoryOptions(source=case.split()[0] if named else None)
    )
    assert stored(store) == FOUND[case]
    assert report.left_out == OUT[case]
    assert report.notes[0] == f"an export of {understood}"


def test_times_and_dates_of_an_export_are_kept(store, table):
    import_history(store, table(WANDB, "w.csv"))
    assert {(e.seconds, e.meta["date"]) for e in store.edges()} == {
        (120.0, "2026-01-02T10:00:00.000Z"),
        (130.0, "2026-01-02T10:00:00.000Z"),
    }


def test_another_metric_model_or_task_can_be_named(store, table):
    options = HistoryOptions(metric="f1", columns={"expert": "Name"}, task="all pets")
    report = import_history(store, table(WANDB, "w.csv"), options)
    assert stored(store) == {("bright-1", "all pets", "f1", 0.8, 0), ("calm-3", "all pets", "f1", 0.6, 1)}
    assert "model from 'Name', task 'all pets', f1 from 'test/f1'" in report.notes[0]
    import_history(store, table(WANDB, "w.csv"), HistoryOptions(metric="val/acc"))
    assert ("org/a", "pets", "accuracy", 0.92, 0) in stored(store)
    losses = HistoryOptions(metric="test_loss", lower_is_better=("loss",))
    import_history(store, table(MLFLOW_PAGE, "m.csv"), losses)
    assert ("org/a", "pets", "loss", 0.4, 0) in stored(store)


def test_without_an_accuracy_every_other_metric_of_a_share_is_read(store, table):
    import_history(store, table(WANDB.replace("test/acc", "test/auc").replace("val/acc", "gap"), "w.csv"))
    assert {(m, v) for _, _, m, v, _ in stored(store)} == {
        ("auc", 0.9),
        ("f1", 0.8),
        ("auc", 0.7),
        ("f1", 0.6),
    }


def test_a_plain_table_is_no_export_even_if_it_has_such_columns(store, table):
    text = "expert,task,metric,value,name,state,_runtime\na,t,f1,0.5,x,crashed,1\n"
    import_history(store, table(text))
    assert stored(store) == {("a", "t", "f1", 0.5, None)}
    with pytest.raises(ExpertiseError, match="no column 'expert'"):
        import_history(store, table(TIMM, "results-x.csv"), HistoryOptions(source="table"))


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            TIMM,
            {"source": "mlflow"},
            "not the columns of an export of MLflow, which are name, run id",
        ),
        (
            TIMM,
            {"source": "excel"},
            "there is no export 'excel'; there are: mlflow, wandb, timm, mteb, eval-ever, table",
        ),
        (TIMM, {}, "no column with the data set; .*`task_column=NAME`, or give `task=NAME` for all rows"),
        (WANDB.replace('"model"', '"net"'), {}, "no column 'expert'; .*`expert_column=NAME`"),
        (
            WANDB,
            {"metric": "recall"},
            "no column with the metric 'recall'; name one with `metric=NAME`",
        ),
        (
            WANDB.replace("acc", "x").replace("f1", "y"),
            {},
            "no column with a metric; name one with `metric=NAME`",
        ),
        (WANDB.replace("finished", "running"), {}, "no value in any of its 3 rows"),
        (WANDB, {"columns": {"expert": "modle"}}, "no column 'modle'.*Did you mean 'model'"),
    ],
)
def test_what_is_not_understood_is_one_line_and_nothing_is_stored(store, table, text, options, message):
    with pytest.raises(ExpertiseError, match=message) as caught:
        import_history(store, table(text, "t.csv"), HistoryOptions(**options))
    assert "\n" not in str(caught.value)
    assert store.edges() == []
    assert store.experts() == []
