"""Control of what is differentiated and how: checkpoint, custom_vjp, cond."""

from backpass.flow.checkpoint import checkpoint
from backpass.flow.choice import cond
from backpass.flow.custom import custom_vjp

__all__ = ["checkpoint", "cond", "custom_vjp"]
