"""Weights that others have written: files read without running anything in them, and their names made timm's."""
