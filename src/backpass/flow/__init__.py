"""Control of what is differentiated and how: custom_vjp, cond."""

from backpass.flow.choice import cond
from backpass.flow.custom import custom_vjp

__all__ = ["cond", "custom_vjp"]
