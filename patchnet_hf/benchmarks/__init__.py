"""Measuring speed: everything that is compared runs in turn in one process, because machines differ and are noisy."""
