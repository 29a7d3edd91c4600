"""Evaluation: datasets scored by a trained model, operating points, reports."""
