"""Measures that the return does not show: distance to a change of action, saliency, and sections of the scores."""

from .measured import MEASURES, MeasureName, with_measures

__all__ = ["MEASURES", "MeasureName", "with_measures"]
