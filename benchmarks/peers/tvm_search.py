"""Runs MetaSchedule's search with its builder and its runner in this process.

TVM's own builder and runner start worker processes that import all of TVM again for each batch of
candidates, and drop candidates that take longer than 30 s, which on a busy machine are most of
them. LeNet's kernels build in 50 ms and cannot hang, so they can be built and timed here.
"""

from pathlib import Path
from typing import Any

# Only `benchmarks.peers.tvm` imports this file, and only to start a search.
import tvm
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule
from tvm.s_tir.meta_schedule import builder, measure_callback, runner, schedule_rule
from tvm.s_tir.meta_schedule.builder.local_builder import default_build
from tvm.s_tir.meta_schedule.runner.local_runner import default_alloc_argument
from tvm.s_tir.meta_schedule.schedule_rule import ReuseType
from tvm.s_tir.meta_schedule.space_generator import PostOrderApply

_built: dict[str, Any] = {}


def search(module: Any, target: Any, folder: Path, trials_per_task: int) -> None:
    """Fill a database in `folder` with the fastest schedules of every kernel in `module`."""
    tasks = meta_schedule.relax_integration.extract_tasks(module, target)
    meta_schedule.relax_integration.tune_relax(
        module,
        {},
        target,
        str(folder),
        max_trials_global=trials_per_task * len(tasks),
        max_trials_per_task=trials_per_task,
        num_trials_per_iter=32,
        builder=Builder(),
        runner=Runner(),
        measure_callbacks=[measure_callback.AddToDatabase(), measure_callback.UpdateCostModel()],
        space=_single_threaded_space(),
        seed=0,
    )


@derived_object
class Builder(builder.PyBuilder):
    """Compiles candidates and keeps each under a number."""

    def build(self, build_inputs: Any) -> Any:
        return [self._build(candidate) for candidate in build_inputs]

    def _build(self, candidate: Any) -> Any:
        try:
            module = default_build(candidate.mod, candidate.target, None)
        except Exception as error:  # any kind: the search goes on without this candidate
            return builder.BuilderResult(None, str(error))
        name = str(len(_built))
        _built[name] = module
        return builder.BuilderResult(name, None)


@derived_object
class Runner(runner.PyRunner):
    """Times candidates, each as the fastest of five runs of 10 ms, in case the machine is noisy."""

    def run(self, runner_inputs: Any) -> Any:
        return [Timed(_time(candidate)) for candidate in runner_inputs]


@derived_object
class Timed(runner.PyRunnerFuture):
    """The result of a candidate that has been timed already, in seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def done(self) -> bool:
        return True

    def result(self) -> Any:
        return runner.RunnerResult([self.seconds], None)


def _time(candidate: Any) -> float:
    module, device = _built[candidate.artifact_path], tvm.cpu()
    _built[candidate.artifact_path] = None
    (arguments,) = default_alloc_argument(device, [a.as_json() for a in candidate.args_info], 1)
    timer = module.time_evaluator("main", device, number=1, repeat=5, min_repeat_ms=10)
    return float(min(timer(*arguments).results))


@tvm.register_global_func("s_tir.meta_schedule.cpu.meta_schedule.pool_max", override=True)
def _pool(schedule: Any, block: Any) -> Any:
    """The rule that TVM's pooling names but TVM lacks on CPUs, where its loops would be scalar."""
    *_, column, row_in_window, column_in_window = schedule.get_loops(block)
    schedule.reorder(row_in_window, column_in_window, column)
    return [schedule]


def _single_threaded_space() -> Any:
    """TVM's own rules for CPUs, without those that split loops over threads."""
    rules = [
        schedule_rule.ApplyCustomRule(),
        schedule_rule.InlineConstantScalars(),
        schedule_rule.AutoInline(
            into_producer=False,
            into_consumer=True,
            inline_const_tensor=True,
            disallow_if_then_else=True,
            require_injective=True,
            require_ordered=True,
            disallow_op=["tirx.exp"],
        ),
        schedule_rule.MultiLevelTiling(
            structure="SSRSRS",
            max_innermost_factor=64,
            reuse_write=ReuseType(req="may", levels=[1, 2], scope="global"),
        ),
        schedule_rule.ParallelizeVectorizeUnroll(
            max_jobs_per_core=-1,
            max_vectorize_extent=64,
            unroll_max_steps=[0, 16, 64, 512],
            unroll_explicit=True,
        ),
        schedule_rule.RandomComputeLocation(),
    ]
    return PostOrderApply(sch_rules=rules, postprocs="from-target", mutator_probs="from-target")
