"""Data: CSV folders to Arrow datasets, decoding, views and their collation, and the capture simulator."""
