"""All workloads, in the order of the report. One file a family; see `definition` and `training`."""

from benchmarks.workloads import (
    dense,
    embedding,
    functions,
    ode,
    regularized,
    residual,
    second_order,
)
from benchmarks.workloads.definition import IMPLEMENTATIONS, PEERS, Built, Workload

WORKLOADS: tuple[Workload, ...] = (
    *dense.WORKLOADS,
    *regularized.WORKLOADS,
    *residual.WORKLOADS,
    *embedding.WORKLOADS,
    *functions.WORKLOADS,
    *second_order.WORKLOADS,
    *ode.WORKLOADS,
)

__all__ = ["IMPLEMENTATIONS", "PEERS", "WORKLOADS", "Built", "Workload"]
