"""Hyper-parameter search: rounds of sweeps whose configurations Optuna proposes."""

from .search import Search, read_search, search_of
from .tuning import FOLDER_OF_ROUND, Trial, Tuning, tuning_record

__all__ = ["FOLDER_OF_ROUND", "Search", "Trial", "Tuning", "read_search", "search_of", "tuning_record"]
