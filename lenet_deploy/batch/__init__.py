"""Batch jobs: labels for any number of pictures, on one machine or many.

`predict_arrow` is the core: Arrow record batches in, record batches out, as Spark's `mapInArrow`,
Ray Data's `map_batches` and Dask's `map_partitions` call it. Around it, `sources` cuts inputs into
parts, an engine (`local`, `on_ray`) has them answered by `worker.Worker`s, and `job` and `placing`
see to it that each row is written exactly once. `run` is all of it.
"""

from lenet_deploy.batch.arrow import answer_schema, predict_arrow
from lenet_deploy.batch.running import ENGINES, Summary, run
from lenet_deploy.batch.tally import Progress

__all__ = ["ENGINES", "Progress", "Summary", "answer_schema", "predict_arrow", "run"]
