"""Data: CSV folders to Arrow datasets, decoding, views, and the capture simulator."""
