"""What an attacked return does not say: how near a change of action is, what a policy looks at, how straight it is."""

from .measured import MEASURES, MeasureName, with_measures

__all__ = ["MEASURES", "MeasureName", "with_measures"]
