"""Cards of models and datasets: what there is to say of a run, its data and its numbers, as Markdown and pictures."""
