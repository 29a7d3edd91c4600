"""The Hugging Face Hub: cards, and repositories of models and datasets."""
