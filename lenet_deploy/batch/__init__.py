"""Batch jobs: labels for any number of pictures, on one machine or many.

`predict_arrow` is the core: Arrow record batches in, record batches out, as Spark's `mapInArrow`,
Ray Data's `map_batches` and Dask's `map_partitions` call it. Around it, `sources` cuts inputs into
parts, `job` writes each part exactly once, and `local` and `on_ray` run the parts.
"""

from lenet_deploy.batch.arrow import predict_arrow

__all__ = ["predict_arrow"]
