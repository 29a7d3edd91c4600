"""Inference: scoring image files with a trained model, and pictures of the scores."""
