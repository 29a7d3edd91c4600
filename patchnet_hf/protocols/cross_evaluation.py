"""The job behind `scripts/cross_evaluate.py`: every fold of a protocol trained, tested, and put in one table."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..data.balancing import BalancedSampling
from ..data.loading import load_run_captures
from ..data.overlap import check_no_shared_images, shared_images
from ..errors import InputError, did_you_mean
from ..evaluation.numbers import set_numbers
from ..evaluation.operating_point import choose_operating_point
from ..evaluation.presentations import Presentations, check_clips
from ..evaluation.scored_set import ScoredSet
from ..json_files import finite
from ..metrics.operating_point import Criterion
from ..training.arguments import DataArguments, ModelArguments, PatchNetTrainingArguments
from ..training.checks import check_best_metric
from ..training.configuration import RunParser
from ..training.network import build_model, build_processor, patch_types_of
from ..training.pretrained import load_pretrained_backbone
from ..yaml_files import read_yaml_mapping
from .folds import Fold, check_fold, counts_of, make_folds, persons_of
from .pool import Pool, load_pool
from .protocol import CHOOSES_CAPTURES, LEFT_OUT, OF_A_FOLD, PARTS, Protocol, load_protocol
from .runs import SCORED, FoldRun, Launcher, locked, score_fold, scores_file, train_fold, write_text
from .saved_scores import read_scores
from .table import csv_text, latex_row, markdown_table, parts_table, plain_table, summary_of

RESULTS_JSON, RESULTS_CSV, TABLE_FILE = "results.json", "results.csv", "table.md"


@dataclass(frozen=True)
class Plan:
    """
    A checked protocol: what will be trained and tested.

    Attributes:
        protocol: as written.
        pool: all its captures.
        folds: all its folds.
        settings: options of `scripts/train.py`, the recipe's with the protocol's.
        batch_size: captures that are scored in one pass.
    """

    protocol: Protocol
    pool: Pool
    folds: Sequence[Fold]
    settings: Mapping
    batch_size: int

    @property
    def title(self) -> str:
        """The first column of its tables."""
        column = self.protocol.leave_one_out
        return "fold" if column is None else f"{LEFT_OUT[column]} left out"

    @property
    def counted(self) -> str:
        """What the rates are of."""
        return f"{self.protocol.level}s"

    def chosen(self, names: Sequence[str] | None) -> list[Fold]:
        """
        The folds of these names; of all without names.

        Raises:
            InputError: there is no such fold.
        """
        known = {fold.name: fold for fold in self.folds}
        for name in names or ():
            if name not in known:
                raise InputError(f"no fold {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}")
        return [fold for fold in self.folds if not names or fold.name in names]

    def parts_table(self, folds: Sequence[Fold]) -> str:
        """What each part of the folds holds."""
        return parts_table(
            [
                {"fold": fold.name, "part": part, **counts_of(self.pool.columns, fold.rows[part])}
                for fold in folds
                for part in PARTS
            ]
        )

    def notes(self, folds: Sequence[Fold]) -> list[str]:
        """What a reader of the numbers has to know of the folds."""
        notes = list(dict.fromkeys(note for fold in folds for note in fold.notes))
        unnamed = sorted({name for fold in folds for name in parts_without_subjects(fold, self.pool)})
        if unnamed:
            notes.append(
                f"not all captures of {', '.join(unnamed)} have a subject: whether persons are in several parts can't "
                "be checked"
            )
        for fold in folds:
            parts = Counter(person for part in PARTS for person in persons_of(self.pool.columns, fold.rows[part]))
            if shared := sum(count > 1 for count in parts.values()):
                notes.append(f"fold {fold.name}: {shared} persons are in several parts, as was allowed")
        return notes


def plan(path: str | Path) -> Plan:
    """
    Reads a protocol, its recipe and its datasets, makes the folds and checks all of it; writes nothing.

    Raises:
        InputError: something can't be used.
    """
    protocol = load_protocol(path)
    try:
        Criterion.parse(protocol.criterion)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    parser = RunParser((ModelArguments, DataArguments, PatchNetTrainingArguments), prog="train.py")
    recipe = read_yaml_mapping(protocol.recipe, "recipe")
    parser.checked(protocol.recipe, recipe)
    parser.checked(f"{path}: options", protocol.options)
    for name in CHOOSES_CAPTURES:
        if recipe.get(name) is not None:
            raise InputError(f"{protocol.recipe}: {name} can't be used here: the protocol says who is in which part")
    settings = {name: value for name, value in recipe.items() if name not in OF_A_FOLD} | dict(protocol.options)
    pool = load_pool(protocol.datasets)
    check_species(protocol, pool)
    try:
        folds = make_folds(protocol, pool.columns)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    for fold in folds:
        check_fold(fold, pool, protocol.allow_shared_subjects)
    batch_size = check_training(parser, settings, folds, pool)
    if protocol.level == "clip":
        for fold in folds:
            for part in SCORED:
                check_clips({"video": pool.columns.texts("video")[fold.rows[part]]}, f"fold {fold.name}: {part}")
    return Plan(protocol, pool, folds, settings, batch_size)


def check_species(protocol: Protocol, pool: Pool) -> None:
    """
    Raises:
        InputError: species of attack types that no capture has, or called like one that isn't part of it.
    """
    known = pool.columns.present("attack_type")
    for name, types in protocol.species.items():
        for kind in types:
            if kind not in known:
                raise InputError(
                    f"species: {name}: no capture has attack_type {kind!r}{did_you_mean(kind, known)}; there are "
                    f"{', '.join(known)}"
                )
        if name in known and name not in types:
            raise InputError(f"species: {name} is an attack type that isn't part of it; choose another name")


def check_training(parser: RunParser, settings: Mapping, folds: Sequence[Fold], pool: Pool) -> int:
    """
    Makes sure that every fold's training will start: its options, network, patch types, what chooses its checkpoint.

    Returns:
        The batch size of evaluations.

    Raises:
        InputError: it wouldn't.
    """
    specs = list(pool.specs)
    for number, fold in enumerate(folds):
        own = {"train": specs, "eval": specs, "train_filter": fold.filters["train"]}
        own["eval_filter"] = fold.filters["development"]
        model, data, arguments = parser.described_by("recipe", {**settings, **own})
        captures = load_run_captures(None, specs, specs, data.train_filter, data.eval_filter)
        sets = captures.sets
        patch_types, live = patch_types_of(captures.described)
        try:
            if not data.allow_shared_images:
                check_no_shared_images(shared_images(captures.parts, sets))
            check_best_metric(arguments.metric_for_best_model, sets)
        except InputError as error:
            raise InputError(f"fold {fold.name}: {error}") from error
        if not number:
            BalancedSampling.parse(data.balance, data.balance_length)
            build_processor(data)
            network = build_model(model, data.patch_size, patch_types, live)
            if isinstance(model.pretrained_backbone, str):
                load_pretrained_backbone(network, model.pretrained_backbone)
    return arguments.per_device_eval_batch_size


def parts_without_subjects(fold: Fold, pool: Pool) -> list[str]:
    """The parts of a fold with captures of nobody."""
    nobody = [code for code, value in enumerate(pool.columns.values["subject"]) if value is None]
    codes = pool.columns.codes["subject"]
    return [part for part in PARTS if any((codes[fold.rows[part]] == code).any() for code in nobody)]


def cross_evaluate(
    job: Plan,
    output: str | Path,
    train_script: Path,
    names: Sequence[str] | None = None,
    overwrite: bool = False,
    accelerate_config: str | None = None,
    environment: Mapping[str, str] | None = None,
    progress: Callable[[Iterable, str], Iterable] = lambda batches, name: batches,
) -> dict:
    """
    Trains and tests folds that aren't finished, and writes the results of all finished ones.

    Args:
        job: by [`plan`].
        output: folder with one folder for each fold, and the results.
        train_script: `scripts/train.py`.
        names: folds to train; all without.
        overwrite: train folds anew that were trained with other settings or captures.
        accelerate_config: of `accelerate launch`; without, a training is one process.
        environment: of the trainings; by default this process's.
        progress: wraps the iteration over batches while scoring, told what is scored.

    Returns:
        The results, as in `results.json`.

    Raises:
        InputError: a folder holds a fold of other settings, or results of something else; a training fails, or
            something can't be written.
        KeyboardInterrupt: Ctrl-C or SIGTERM; finished folds stay, and the same call goes on.
    """
    output = Path(output)
    if output.is_file():
        raise InputError(f"output {output} is a file; expected a folder")
    check_output(output, job)
    launcher = Launcher.of(train_script, accelerate_config, os.environ if environment is None else environment)
    runs = {fold.name: FoldRun.of(fold, job.pool, job.settings, output, launcher.processes) for fold in job.folds}
    chosen = [runs[fold.name] for fold in job.chosen(names)]
    changed = {run.fold.name: run.changes() for run in runs.values()}
    for run in chosen:
        if changed[run.fold.name] and not overwrite:
            raise InputError(
                f"{run.folder} was trained in another way: {'; '.join(changed[run.fold.name])}; choose another "
                "--output, or train it anew with --overwrite"
            )
    with locked(output) as lock:
        for number, run in enumerate(chosen, start=1):
            head = f"fold {number} of {len(chosen)}, {run.fold.name}"
            if changed[run.fold.name]:
                run.remove()
                changed[run.fold.name] = []
            if run.is_finished:
                print(f"{head}: finished before", flush=True)
                continue
            try:
                run.begin()
                if not run.is_trained:
                    print(f"\n{head}: training into {run.folder}\n", flush=True)
                    train_fold(run, launcher, lock)
                print(f"\n{head}: scoring {' and '.join(SCORED)}", flush=True)
                score_fold(run, job.pool, job.batch_size, progress)
            except KeyboardInterrupt:
                done = sum(other.is_finished for other in chosen)
                raise KeyboardInterrupt(
                    f"stopped in {head}; {done} finished so far, and the same command goes on from here"
                ) from None
        done = [run for run in runs.values() if run.is_finished and not changed[run.fold.name]]
        results = results_of(job, done)
        write_results(output, results)
    return results


def check_output(output: Path, job: Plan) -> None:
    """
    Raises:
        InputError: the folder holds results that aren't of this protocol, and would be replaced.
    """
    try:
        there = json.loads((output / RESULTS_JSON).read_text(encoding="utf-8"))
        ours = {fold["folder"] for fold in there["folds"]} & {fold.folder for fold in job.folds}
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError):
        ours = set()
    if not ours:
        raise InputError(f"{output / RESULTS_JSON} is of something else; choose another --output")


def results_of(job: Plan, runs: Sequence[FoldRun]) -> dict:
    """
    The numbers of finished folds, computed from their saved scores: the threshold on the development set, all else on
    the test set.

    Raises:
        InputError: the scores can't be read, or no threshold meets the criterion.
    """
    protocol = job.protocol
    folds = []
    for run in runs:
        scored = {part: read_scores(run.folder / scores_file(part), part) for part in SCORED}
        counted = {
            part: Presentations.of(with_species(scored[part], protocol.species), protocol.level) for part in SCORED
        }
        where = f"the development set of fold {run.fold.name}"
        point = choose_operating_point(counted["development"], protocol.criterion, where, run.captures["development"])
        numbers = set_numbers(counted["test"], point)
        folds.append(
            {
                "fold": run.fold.name,
                "folder": run.fold.folder,
                "threshold": point.threshold,
                "threshold_log_odds": point.threshold_log_odds,
                "counts": numbers.counts,
                "metrics": numbers.metrics,
                "intervals": {name: list(interval) for name, interval in numbers.intervals.items()},
                "apcer_by_species": {kind: species.apcer for kind, species in numbers.attack_types.items()},
                "parts": {part: counts_of(job.pool.columns, run.fold.rows[part]) for part in PARTS},
                "captures": dict(run.captures),
            }
        )
    return {
        "protocol": protocol.name,
        "recipe": protocol.recipe,
        "datasets": list(protocol.datasets),
        "options": dict(protocol.options),
        "criterion": protocol.criterion,
        "level": protocol.level,
        "species": {name: list(types) for name, types in protocol.species.items()},
        "folds": folds,
        "of": len(job.folds),
        "title": job.title,
        "counted": job.counted,
        "summary": summary_of(folds),
        "standard_deviation": "sample, n - 1",
        "notes": job.notes([run.fold for run in runs]),
    }


def with_species(scored: ScoredSet, species: Mapping[str, Sequence[str]]) -> ScoredSet:
    """The same scores with attack types called by their species."""
    names = {kind: name for name, types in species.items() for kind in types}
    return replace(scored, attack_types=[names.get(kind, kind) for kind in scored.attack_types])


def report(results: Mapping) -> str:
    """The table for a terminal, with what there is to say of it."""
    table = plain_table(results["folds"], results["title"], results["counted"])
    return "\n".join([results["protocol"], "", table, "", *explanations(results)])


def explanations(results: Mapping) -> list[str]:
    """What the table's numbers are, a sentence a line."""
    folds, of = results["folds"], results["of"]
    lines = [
        f"Thresholds: {results['criterion']}, on each fold's development set.",
        "APCER and ACER: of the worst attack type; HTER: of all attacks together; AUC and EER: over all thresholds.",
    ]
    if len(folds) > 1:
        lines.append(f"Mean and sample standard deviation (n - 1) over {len(folds)} folds.")
    if len(folds) < of:
        lines.append(f"{of - len(folds)} of {of} folds aren't finished, or were trained in another way.")
    return [*lines, *(f"Note: {note}." for note in results["notes"])]


def write_results(output: Path, results: Mapping) -> None:
    """
    Writes `results.json`, `results.csv` and `table.md`, each in one move.

    Raises:
        InputError: they can't be written.
    """
    folds, counted = results["folds"], results["counted"]
    table = markdown_table(folds, results["title"], counted)
    texts = {
        RESULTS_JSON: json.dumps(finite(results), indent=2, ensure_ascii=False) + "\n",
        RESULTS_CSV: csv_text(folds, counted),
        TABLE_FILE: f"# {results['protocol']}\n\n{table}\n\n"
        + "\n".join(explanations(results))
        + f"\n\nAPCER, BPCER and ACER for LaTeX:\n\n    {latex_row(folds, results['protocol'])}\n",
    }
    try:
        for name, text in texts.items():
            write_text(output / name, text)
    except OSError as error:
        raise InputError(f"{output} can't be written: {error}") from error
