"""Closed forms held against the laboratory: for each a grid, and the runs that answer it."""

from sim.study.validation.grids import FORMS, forms
from sim.study.validation.points import Case, Form, Point, ratio_interval, validate

__all__ = ["FORMS", "Case", "Form", "Point", "forms", "ratio_interval", "validate"]
