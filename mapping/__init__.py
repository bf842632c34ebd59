"""An image onto a device: where each weight lies, what is loaded, how many cycles it takes."""

from mapping.layer import LayerPlan
from mapping.plan import Plan, plan

__all__ = ["LayerPlan", "Plan", "plan"]
