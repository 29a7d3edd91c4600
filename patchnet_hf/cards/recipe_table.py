"""The recipe of a training as a table."""

import json
from collections.abc import Mapping

from .markdown import escaped, table
from .names import without_paths


def recipe_table(run: Mapping) -> str:
    """Names and values of the recipe that a run's record holds."""
    recipe, batch = run["recipe"], run["recipe"]["batch"]
    best, resumed = run.get("best"), run.get("resumed_at_steps") or []
    rows = {
        "backbone": _backbone(recipe),
        "starts from": start_text(run["start"]),
        "views": _views(recipe),
        "loss": (
            f"asymmetric AM-softmax over patch types, scale {recipe['scale']:g}, margins {recipe['margin_live']:g} "
            f"(live) and {recipe['margin_spoof']:g} (attacks), weight {recipe['classification_weight']:g}; squared "
            f"distance of the two views' embeddings, weight {recipe['similarity_weight']:g}"
        ),
        "sampling": _sampling(recipe.get("balance")),
        "length": f"{_number(recipe['epochs'])} epochs, {recipe['steps']} steps",
        "batch": (
            f"{batch['effective']} captures a step: {batch['per_device']} on each of {_processes(batch['processes'])}"
            + (f", accumulated over {batch['accumulation']} passes" if batch["accumulation"] > 1 else "")
        ),
        "optimiser": _optimiser(recipe),
        "learning rate": _schedule(recipe),
        "precision": recipe["precision"],
        "averaged weights": _averaging(recipe),
        "seed": str(recipe["seed"]),
        "checkpoint": (_best(best) if best else "the last"),
        "resumed": ", ".join(f"at step {step}" for step in resumed) if resumed else "",
        "computed on": f"{escaped(run['device'])}, {_processes(run['processes'])}",
        "software": ", ".join(f"{name} {version}" for name, version in run["versions"].items()),
        "date": str(run["date"])[:10],
    }
    return table(["setting", "value"], [[name, value] for name, value in rows.items() if value], left=2)


def start_text(start: Mapping) -> str:
    """What the weights were at the beginning, in words."""
    kind, identifier = start["weights"], start.get("hub_id")
    texts = {
        "random": "random weights",
        "timm": "timm's pretrained backbone",
        "backbone_file": "a pretrained backbone, from a file",
        "folder": "another PatchNet model, from a folder",
        "hub": "another PatchNet model, from the Hub",
        "unknown": "weights that aren't recorded",
    }
    text = texts.get(kind, kind)
    if identifier:
        text += f", {escaped(identifier)}"
    if count := start.get("unmatched"):
        text += f" ({count} of its weights or patch types did not match)"
    return text


def _backbone(recipe: Mapping) -> str:
    text = f"{escaped(recipe['backbone'])}, {recipe['parameters'] / 1e6:.2f} M parameters with its head"
    if recipe["backbone_kwargs"]:
        text += f", {escaped(json.dumps(without_paths(recipe['backbone_kwargs'])), 200)}"
    text += f", embedding of {recipe['embedding_size']}"
    for name in ("dropout", "drop_path_rate"):
        if recipe[name]:
            text += f", {name.replace('_', ' ')} {recipe[name]:g}"
    return text


def _views(recipe: Mapping) -> str:
    size = recipe["patch_size"]
    if augmentation := recipe.get("augmentation"):
        file, names = escaped(augmentation["file"]), [str(step["transform"]) for step in augmentation["transforms"]]
        return f"two views of {size} x {size} pixels a capture, augmented by {file} ({escaped(', '.join(names), 300)})"
    if recipe["mode"] == "patches":
        return (
            f"two random patches of {size} x {size} pixels a capture at native resolution, mirrored and turned by "
            "quarter turns at random; no other augmentation"
        )
    how = ", each new pixel the mean of those it covers" if recipe.get("resampling") == "area" else ""
    return (
        f"the face resized to {recipe['resize_size']} pixels{how}, two random crops of {size} x {size}, mirrored at "
        "random; no other augmentation"
    )


def _sampling(balance: Mapping | None) -> str:
    if not balance:
        return "every capture once an epoch"
    return f"groups of {escaped(' + '.join(balance['columns']))} equally often, {escaped(str(balance['length']))}"


def _optimiser(recipe: Mapping) -> str:
    text = f"{escaped(recipe['optimizer'])}, weight decay {recipe['weight_decay']:g}"
    if recipe["weight_decay"] and not recipe["decay_norms_and_biases"]:
        text += " (not of norms and biases)"
    if recipe["optimizer_arguments"]:
        text += f", {escaped(recipe['optimizer_arguments'], 120)}"
    clipping = f"clipped at {recipe['max_grad_norm']:g}" if recipe["max_grad_norm"] else "not clipped"
    return f"{text}, gradients {clipping}"


def _schedule(recipe: Mapping) -> str:
    text = f"{recipe['learning_rate']:g}, {escaped(recipe['schedule'])} schedule"
    if recipe["warmup_steps"]:
        text += f", {recipe['warmup_steps']} steps of warm-up"
    if recipe["schedule_arguments"]:
        text += f", {escaped(json.dumps(recipe['schedule_arguments']), 120)}"
    return text


def _averaging(recipe: Mapping) -> str:
    if recipe["ema_decay"] is None:
        return ""
    return (
        f"exponential moving average, decay {recipe['ema_decay']:g}{', with warm-up' if recipe['ema_warmup'] else ''}"
    )


def _best(best: Mapping) -> str:
    extreme = "highest" if best.get("larger_is_better") else "lowest"
    metric = escaped(best["metric"], 120)
    return f"that with the {extreme} {metric}, {best['value']:.4g} at step {best['step']}"


def _processes(count: int) -> str:
    return f"{count} {'process' if count == 1 else 'processes'}"


def _number(value: float) -> str:
    return f"{value:.4g}"
