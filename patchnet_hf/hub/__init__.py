"""Pushing models and datasets to the Hugging Face Hub."""
