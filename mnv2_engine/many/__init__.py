"""Many photographs on one machine: `workers.in_order` answers them by several processes.

Several machines are Ray's affair (`mnv2_engine.ray`), Dask's or Spark's (docs/many-machines.md).
"""
