"""The metric as a Hugging Face Space: a table of scores in, all numbers out.

A Space runs this file with gradio installed, which is no requirement of the package.
"""

from typing import Any

EXAMPLE = [
    [4.0, 1, "", "ann"],
    [2.5, 1, "", "ben"],
    [-0.5, 1, "", "cem"],
    [3.0, 1, "", "dua"],
    [-3.0, 0, "print", "ann"],
    [0.5, 0, "print", "ben"],
    [-2.0, 0, "mask", "cem"],
    [-4.0, 0, "mask", "dua"],
]
HEADERS = ["prediction", "reference", "attack type", "group"]


def numbers(table: list[list[Any]], threshold: float, intervals: bool) -> tuple[list[list[str]], str]:
    """Rows of name, value and interval for what a user typed; or no rows and what is wrong with it.

    >>> rows, problem = numbers(EXAMPLE, 0.5, False)
    >>> rows[0], problem
    (['apcer', '0.5000', ''], '')
    >>> numbers([["high", 1, "", ""]], 0.5, False)[1]
    "row 1: prediction is 'high' and reference is '1'; expected log-odds and 0 or 1"
    """
    from patchnet_hf.metrics.presentation_attack_detection import PresentationAttackDetection

    columns: dict[str, list] = {"predictions": [], "references": [], "attack_types": [], "groups": []}
    for index, row in enumerate(table, start=1):
        cells = ["" if cell is None else str(cell).strip() for cell in row]
        if not any(cells):
            continue
        try:
            columns["predictions"].append(float(cells[0]))
            columns["references"].append({"0": 0, "1": 1, "0.0": 0, "1.0": 1}[cells[1]])
        except (ValueError, KeyError):
            return [], (
                f"row {index}: prediction is {cells[0]!r} and reference is {cells[1]!r}; expected log-odds and 0 or 1"
            )
        columns["attack_types"].append(cells[2] or "attack")
        columns["groups"].append(cells[3] or None)
    metric = PresentationAttackDetection(keep_in_memory=True)
    try:
        results = metric.compute(**columns, threshold=threshold, intervals=intervals)
    except ValueError as error:
        return [], str(error)
    rows = []
    ends = {f"{name}{end}" for name in results for end in ("_low", "_high")} if intervals else set()
    for name, value in results.items():
        if name in ends:
            continue
        has_interval = intervals and f"{name}_low" in results
        interval = f"{results[name + '_low']:.4f} to {results[name + '_high']:.4f}" if has_interval else ""
        rows.append([name, str(value) if isinstance(value, int) else f"{value:.4f}", interval])
    return rows, ""


def interface() -> Any:
    """The page, a `gradio.Interface`."""
    import gradio

    return gradio.Interface(
        fn=numbers,
        inputs=[
            gradio.Dataframe(EXAMPLE, headers=HEADERS, type="array", label="one row for each image"),
            gradio.Slider(0.01, 0.99, 0.5, label="threshold, a probability"),
            gradio.Checkbox(True, label="confidence intervals of 95 percent"),
        ],
        outputs=[
            gradio.Dataframe(headers=["number", "value", "interval"], label="results"),
            gradio.Textbox(label="what is wrong with the input"),
        ],
        title="Presentation attack detection",
        description="Predictions are live log-odds, references 1 for a bona fide and 0 for an attack; leave the "
        "attack type of a bona fide empty, and the group (person or video) where you have none.",
        flagging_mode="never",
    )


if __name__ == "__main__":
    interface().launch()
