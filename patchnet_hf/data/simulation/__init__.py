"""Simulated captures of live faces and of attacks on them, so that training can be tried with no download."""

from .demo_dataset import SPLITS, Capture, Split, plan_split, render_capture, summary_table, write_demo_dataset

__all__ = ["SPLITS", "Capture", "Split", "plan_split", "render_capture", "summary_table", "write_demo_dataset"]
