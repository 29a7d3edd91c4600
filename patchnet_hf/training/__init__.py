"""Training: arguments, the Trainer subclass, callbacks, and the job that puts them together."""
