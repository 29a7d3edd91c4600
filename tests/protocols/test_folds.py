"""Folds: who may be where, over random data and over the clips of OULU-NPU; what is refused."""

import datasets
import numpy as np
import pytest

from patchnet_hf.data.filters import CaptureColumns, CaptureFilter
from patchnet_hf.data.schema import capture_features
from patchnet_hf.errors import InputError
from patchnet_hf.protocols.cross_evaluation import Plan
from patchnet_hf.protocols.folds import check_fold, counts_of, divided, folds_leaving_one_out, make_folds
from patchnet_hf.protocols.pool import Pool, pictures
from patchnet_hf.protocols.protocol import PARTS, HoldOut, load_protocol, parse_protocol


def pool_of(rows: list[dict]) -> Pool:
    """A pool of captures with these values and a picture of their own each."""
    patch_types = ["live", "attack"]
    columns = {name: [row.get(name) for row in rows] for name in ("source", "subject", "session", "video", "device")}
    data = {
        "image": [
            {"bytes": row.get("bytes", str(number).encode()), "path": row.get("file", f"{number}.png")}
            for number, row in enumerate(rows)
        ],
        "label": [int(row["attack_type"] == "bonafide") for row in rows],
        "patch_type": [int(row["attack_type"] != "bonafide") for row in rows],
        "attack_type": [row["attack_type"] for row in rows],
        **columns,
        "face_box": [None] * len(rows),
    }
    features = capture_features(patch_types)
    captures = datasets.Dataset.from_dict({name: data[name] for name in features}, features=features)
    return Pool(("pool",), captures, CaptureColumns([captures]), *pictures(captures))


def random_rows(seed: int) -> list[dict]:
    """
    Persons of three datasets, some of the same name, with devices and attack types of their own: some with bona fides
    alone, some with one attack type alone, some with one device alone.
    """
    random = np.random.default_rng(seed)
    rows = []
    for source in ("oulu", "nuaa", "msu"):
        for person in range(random.integers(8, 25)):
            devices = random.choice(["d1", "d2", "d3"], size=random.integers(1, 4), replace=False)
            kinds = random.choice(
                ["bonafide", "print", "replay", "mask"], size=random.integers(1, 5), p=[0.4, 0.2, 0.2, 0.2]
            )
            for device in devices:
                for kind in dict.fromkeys(kinds):
                    for take in range(random.integers(1, 3)):
                        name = f"{source}_{person}_{device}_{kind}_{take}"
                        rows.append(
                            {
                                "source": source,
                                "subject": f"{person:02d}",
                                "device": str(device),
                                "attack_type": str(kind),
                                "video": name,
                                "file": f"{name}.png",
                            }
                        )
    random.shuffle(rows)
    return rows


@pytest.mark.parametrize("column", ["source", "attack_type", "device"])
@pytest.mark.parametrize("seed", range(8))
def test_nobody_and_nothing_is_in_two_parts_and_the_left_out_value_is_only_tested(column, seed):
    rows = random_rows(seed)
    pool = pool_of(rows)
    folds = folds_leaving_one_out(column, None, HoldOut(seed=seed), pool.columns)
    values = {row[column] for row in rows} - ({"bonafide"} if column == "attack_type" else set())
    assert [fold.name for fold in folds] == sorted(values)
    for fold in folds:
        parts = {part: [row for row, yes in zip(rows, fold.rows[part], strict=True) if yes] for part in PARTS}
        persons = {part: {(row["source"], row["subject"]) for row in some} for part, some in parts.items()}
        for first, second in (("train", "development"), ("train", "test"), ("development", "test")):
            assert not persons[first] & persons[second]
            assert not np.any(fold.rows[first] & fold.rows[second])
        for part in ("train", "development"):
            assert all(row[column] != fold.name for row in parts[part])
        allowed = {fold.name, "bonafide"} if column == "attack_type" else {fold.name}
        assert {row[column] for row in parts["test"]} <= allowed
        # Nobody is left out without a reason: whoever was never seen with what is left out, or with nothing else.
        for person in {(row["source"], row["subject"]) for row in rows}:
            own = [row for row in rows if (row["source"], row["subject"]) == person]
            trainable = [row for row in own if row[column] != fold.name]
            testable = [row for row in own if row[column] in allowed]
            part = [name for name in PARTS if person in persons[name]]
            if not testable:
                assert part[0] in ("train", "development")
            if not trainable:
                assert part == ["test"]
            whole = testable if part == ["test"] else trainable
            assert [row for row in parts[part[0]] if (row["source"], row["subject"]) == person] == whole
        for part in PARTS:
            if fold.rows[part].any():
                again = CaptureFilter.parse(fold.filters[part]).mask(pool.columns)
                assert np.array_equal(again, fold.rows[part]), "the filter in fold.yaml says the same"


def test_a_left_out_dataset_is_tested_whole():
    rows = random_rows(1)
    folds = folds_leaving_one_out("source", ["msu"], HoldOut(), pool_of(rows).columns)
    (fold,) = folds
    assert fold.filters["test"] == {"source": ["msu"]}
    assert fold.rows["test"].tolist() == [row["source"] == "msu" for row in rows]


def test_persons_are_divided_alike_in_all_folds_in_about_the_asked_shares_and_by_the_seed():
    rows = [
        {"source": "a", "subject": str(person), "attack_type": kind, "device": device}
        for person in range(100)
        for kind in ("bonafide", "print", "replay")
        for device in ("d1", "d2")
    ]
    pool = pool_of(rows)
    roles = divided(pool.columns, HoldOut(development=0.2, test=0.3))
    assert {part: list(roles.values()).count(part) for part in PARTS} == {"train": 50, "development": 20, "test": 30}
    folds = folds_leaving_one_out("attack_type", None, HoldOut(development=0.2, test=0.3), pool.columns)
    for fold in folds:
        for part in PARTS:
            persons = {row["subject"] for row, yes in zip(rows, fold.rows[part], strict=True) if yes}
            assert persons == {person for (_, person), role in roles.items() if role == part}
    assert divided(pool.columns, HoldOut(development=0.2, test=0.3)) == roles
    assert divided(pool.columns, HoldOut(development=0.2, test=0.3, seed=1)) != roles


def test_persons_who_show_other_things_are_divided_in_the_same_proportion():
    rows = [
        {"source": "a", "subject": f"{kind}{person}", "attack_type": kind, "device": "d"}
        for kind, count in (("bonafide", 40), ("mask", 20))
        for person in range(count)
    ]
    roles = divided(pool_of(rows).columns, HoldOut(development=0.2, test=0.2))
    for kind, count in (("bonafide", 40), ("mask", 20)):
        some = [role for (_, person), role in roles.items() if person.startswith(kind)]
        assert abs(some.count("test") - 0.2 * count) <= 1 and abs(some.count("development") - 0.2 * count) <= 1


def test_captures_of_an_unknown_value_take_no_part():
    rows = [
        {"source": "a", "subject": str(person), "attack_type": kind, "device": device}
        for person in range(20)
        for kind in ("bonafide", "print", "replay", "attack")
        for device in ("d1", "d2", None)
    ]
    pool = pool_of(rows)
    for fold in folds_leaving_one_out("device", None, HoldOut(), pool.columns):
        assert not any(rows[index]["device"] is None for part in PARTS for index in np.flatnonzero(fold.rows[part]))
        assert fold.notes == ("80 captures whose device isn't known take no part",)
    folds = folds_leaving_one_out("attack_type", None, HoldOut(), pool.columns)
    assert [fold.name for fold in folds] == ["print", "replay"]
    for fold in folds:
        used = {rows[index]["attack_type"] for part in PARTS for index in np.flatnonzero(fold.rows[part])}
        assert used == {"bonafide", "print", "replay"}
        assert fold.notes == ("60 captures whose attack type isn't known take no part",)


def people(count=20, **fixed) -> list[dict]:
    return [
        {"source": "a", "subject": str(person), "attack_type": kind, "device": device, **fixed}
        for person in range(count)
        for kind in ("bonafide", "print", "replay")
        for device in ("d1", "d2")
    ]


@pytest.mark.parametrize(
    ("rows", "column", "targets", "message"),
    [
        (people(), "source", None, "the captures have only 'a'; to leave one out, it takes two datasets"),
        (people(device=None), "device", None, "the captures have none"),
        (people(), "device", ["d3"], "no capture has device 'd3'; there are d1, d2"),
        (people(subject=None), "device", None, "60 captures have no subject"),
    ],
)
def test_what_cannot_be_left_out_or_held_out_is_one_line(rows, column, targets, message):
    with pytest.raises(InputError, match=r"^[^\n]*$") as error:
        folds_leaving_one_out(column, targets, HoldOut(), pool_of(rows).columns)
    assert message in str(error.value)


def named(train: dict, development: dict, test: dict, **more):
    fold = {"name": "one", "train": train, "development": development, "test": test}
    return parse_protocol({"name": "p", "recipe": "r", "datasets": "d", "folds": [fold], **more}, "p.yaml")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            ({"subject": "0-9"}, {"subject": "10-14"}, {"subject": "14-19"}),
            "6 captures are in development and in test",
        ),
        (
            ({"subject": "0-9", "device": "d1"}, {"subject": "10-14"}, {"device": "d2", "subject": "5-9"}),
            "5 persons are in train and in test (5 of a, 6 of a, 7 of a, 8 of a, 9 of a)",
        ),
        (
            ({"subject": "0-9"}, {"subject": "10-14", "label": "live"}, {"subject": "15-19"}),
            "development has no attacks (10 bona fides, 0 attacks)",
        ),
        (
            ({"subject": "0-9", "label": "spoof"}, {"subject": "10-14"}, {"subject": "15-19"}),
            "train has no bona fides (0 bona fides, 40 attacks)",
        ),
    ],
)
def test_overlapping_and_one_sided_parts_are_refused(parts, message):
    pool = pool_of(people())
    (fold,) = make_folds(named(*parts), pool.columns)
    with pytest.raises(InputError, match=r"^fold one: [^\n]*$") as error:
        check_fold(fold, pool)
    assert message in str(error.value)


def test_shared_persons_may_be_allowed_but_not_shared_captures():
    pool = pool_of(people())
    parts = {"subject": "0-9", "device": "d1"}, {"subject": "10-14"}, {"device": "d2", "subject": "5-9"}
    (fold,) = make_folds(named(*parts), pool.columns)
    check_fold(fold, pool, allow_shared_subjects=True)
    (fold,) = make_folds(named({"subject": "0-10"}, {"subject": "10-14"}, {"subject": "15-19"}), pool.columns)
    with pytest.raises(InputError, match="captures are in train and in development"):
        check_fold(fold, pool, allow_shared_subjects=True)


def test_allowed_persons_in_several_parts_are_told_whichever_parts_they_are():
    pool = pool_of(people())
    protocol = named(
        {"subject": "0-9", "device": "d1"},
        {"subject": "8-12", "device": "d2"},
        {"subject": "13-19"},
        allow_shared_subjects=True,
    )
    folds = make_folds(protocol, pool.columns)
    told = Plan(protocol, pool, folds, {}, 1).notes(folds)
    assert told == ["fold one: 2 persons are in several parts, as was allowed"]


def test_one_picture_listed_twice_is_found_by_its_bytes():
    rows = people()
    rows[0] |= {"file": "train/7.png", "bytes": b"the same"}
    rows[-6] |= {"file": "test/7.png", "bytes": b"the same"}
    rows[-5] |= {"file": "test/7.png", "bytes": b"as long!"}
    pool = pool_of(rows)
    (fold,) = make_folds(named({"subject": "0-9"}, {"subject": "10-14"}, {"subject": "15-19"}), pool.columns)
    with pytest.raises(InputError, match=r"1 captures are in train and in test, for example train/7\.png"):
        check_fold(fold, pool)
    rows[-6]["bytes"] = b"not same"
    check_fold(fold, pool_of(rows))


def test_clips_whose_frames_are_all_called_alike_are_compared_in_one_pass_over_the_pictures(monkeypatch):
    rows = [
        {**row, "file": f"faces/{number}/000.bmp", "bytes": f"{number:05d}".encode()}
        for number, row in enumerate(people(200))
    ]
    rows[-1]["bytes"] = rows[0]["bytes"]
    pool = pool_of(rows)
    read, digests = [], Pool._digests
    monkeypatch.setattr(Pool, "_digests", lambda self, indices: read.extend(indices) or digests(self, indices))
    first = np.arange(len(rows)) < 600
    assert pool.twins(first, ~first) == [(0, len(rows) - 1)]
    assert sorted(read) == list(range(len(rows))), "each once, not each with each"


def test_counts_are_those_of_the_rows():
    pool = pool_of(people(4))
    counts = counts_of(pool.columns, pool.columns.texts("device") == "d1")
    assert counts == {
        "captures": 12,
        "bona_fides": 4,
        "attacks": {"print": 4, "replay": 4},
        "subjects": 4,
        "devices": ["d1"],
    }


def test_a_fingerprint_changes_with_every_column_and_the_pictures_but_not_with_the_rest_of_the_pool():
    rows = people(4)
    chosen = np.arange(len(rows)) < 10
    base = pool_of(rows).fingerprint(chosen)
    assert pool_of(rows + people(1, source="b")).fingerprint(np.append(chosen, [False] * 6)) == base
    changes = (
        ("device", "d3"),
        ("subject", "x"),
        ("attack_type", "mask"),
        ("bytes", b"longer than before"),
        ("file", "z"),
    )
    for column, value in changes:
        other = [dict(row) for row in rows]
        other[1][column] = value
        assert pool_of(other).fingerprint(chosen) != base, column
        other = [dict(row) for row in rows]
        other[20][column] = value
        assert pool_of(other).fingerprint(chosen) == pool_of(rows).fingerprint(chosen), "not of these captures"


# The published numbers of videos: bona fides and attacks of each part.
OULU = {
    1: ((240, 960), (180, 720), (120, 480)),
    2: ((360, 720), (270, 540), (360, 720)),
    3: ((300, 1200), (225, 900), (60, 240)),
    4: ((200, 400), (150, 300), (20, 40)),
}


@pytest.fixture(scope="module")
def oulu():
    """All 4950 clips, as `Phone_Session_User_File` names them."""
    kinds = {1: "bonafide", 2: "print1", 3: "print2", 4: "replay1", 5: "replay2"}
    rows = [
        {
            "source": "oulu",
            "file": f"{phone}_{session}_{user:02d}_{file}.png",
            "video": f"{phone}_{session}_{user:02d}_{file}",
            "device": str(phone),
            "session": str(session),
            "subject": f"{user:02d}",
            "attack_type": kinds[file],
        }
        for phone in range(1, 7)
        for session in range(1, 4)
        for user in range(1, 56)
        for file in range(1, 6)
    ]
    assert len(rows) == 4950
    return pool_of(rows)


@pytest.mark.parametrize("number", OULU)
def test_oulu_npus_protocols_have_the_published_numbers_of_videos(oulu, project, number):
    protocol = load_protocol(project / "configs" / "protocols" / f"oulu_npu_{number}.yaml")
    folds = make_folds(protocol, oulu.columns)
    assert len(folds) == (1, 1, 6, 6)[number - 1]
    for place, fold in enumerate(folds, start=1):
        check_fold(fold, oulu)
        for part, expected, users in zip(
            PARTS, OULU[number], (range(1, 21), range(21, 36), range(36, 56)), strict=True
        ):
            counts = counts_of(oulu.columns, fold.rows[part])
            assert (counts["bona_fides"], sum(counts["attacks"].values())) == expected
            names = [oulu.files[index].removesuffix(".png").split("_") for index in np.flatnonzero(fold.rows[part])]
            assert {int(user) for _, _, user, _ in names} == set(users)
            test = part == "test"
            phones = {1: 6, 2: 6, 3: 1 if test else 5, 4: 1 if test else 5}[number]
            assert len({phone for phone, *_ in names}) == phones
            if number in (3, 4):
                assert (str(place) in {phone for phone, *_ in names}) == test
            if number in (1, 4):
                assert {session for _, session, _, _ in names} == ({"3"} if test else {"1", "2"})
            if number in (2, 4):
                assert {file for *_, file in names} == ({"1", "3", "5"} if test else {"1", "2", "4"})
