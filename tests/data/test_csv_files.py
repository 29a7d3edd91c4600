"""Reading CSV lists of captures, as people and programs write them."""

import csv
from pathlib import Path

import pytest

from patchnet_hf.data.csv_files import BadRow, CaptureRow, find_csv_files, read_layout, read_rows, source_name
from patchnet_hf.errors import InputError


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "nuaa"
    path.mkdir()
    return path


def write(folder: Path, text: str | bytes, name: str = "train.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows_of(folder: Path, text: str | bytes) -> list[CaptureRow | BadRow]:
    return list(read_rows(write(folder, text)))


def names_and_labels(rows) -> list[tuple[str, int]]:
    return [(row.image_name, row.label) for row in rows]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("header", ["", "image_name{}label\n"])
def test_each_delimiter_with_and_without_header(folder, delimiter, header):
    text = header.format(delimiter) + f"a b/1.jpg{delimiter}1\nc.jpg{delimiter}0\n"
    assert names_and_labels(rows_of(folder, text)) == [("a b/1.jpg", 1), ("c.jpg", 0)]


def test_byte_order_mark_crlf_blank_lines_quotes_and_spaces(folder):
    text = '\ufeffImage_Name , LABEL\r\n\r\n"a, b.jpg" , 1 \r\n   \r\n  c.jpg,"0"\r\n'
    rows = rows_of(folder, text)
    assert names_and_labels(rows) == [("a, b.jpg", 1), ("c.jpg", 0)]
    assert [row.line for row in rows] == [3, 5]


def test_utf_16_as_spreadsheets_save_it(folder):
    assert names_and_labels(rows_of(folder, "image_name\tlabel\né.jpg\t1\n".encode("utf-16"))) == [("é.jpg", 1)]


def test_no_newline_at_the_end(folder):
    assert names_and_labels(rows_of(folder, "a.jpg,1")) == [("a.jpg", 1)]


def test_a_comma_in_a_name_does_not_hide_the_semicolon(folder):
    assert names_and_labels(rows_of(folder, "a,1.jpg;1\nb,2.jpg;0\n")) == [("a,1.jpg", 1), ("b,2.jpg", 0)]


def test_defaults_without_further_columns(folder):
    live, attack = rows_of(folder, "a.jpg,1\nb.jpg,0\n")
    assert (live.patch_type, live.attack_type, live.source) == ("live", "bonafide", "nuaa")
    assert (attack.patch_type, attack.attack_type, attack.source) == ("spoof", "attack", "nuaa")
    assert (live.subject, live.session, live.video, live.device, live.face_box) == (None,) * 5


def test_all_further_columns_in_any_order(folder):
    columns = {
        "face_h": "40",
        "video": "v1",
        "label": "0",
        "session": "2",
        "material": "print",
        "device": "phone1",
        "image_name": "a.jpg",
        "face_x": "1",
        "face_w": "30.0",
        "face_y": "0",
        "attack_type": "photo print",
        "source": "oulu",
        "subject": "007",
    }
    [row] = rows_of(folder, ",".join(columns) + "\n" + ",".join(columns.values()) + "\n")
    assert row == CaptureRow(
        file=str(folder / "train.csv"),
        line=2,
        image_name="a.jpg",
        label=0,
        patch_type="phone1/print",
        attack_type="photo print",
        source="oulu",
        subject="007",
        session="2",
        video="v1",
        device="phone1",
        face_box=(1, 0, 30, 40),
    )


def test_an_explicit_patch_type_wins_over_device_and_material(folder):
    text = "image_name,label,device,material,patch_type\na.jpg,0,p1,print,mine\nb.jpg,0,p1,print,\nc.jpg,0,,,\n"
    assert [row.patch_type for row in rows_of(folder, text)] == ["mine", "p1/print", "spoof"]


def test_device_alone_makes_no_patch_type(folder):
    [row] = rows_of(folder, "image_name,label,device\na.jpg,1,p1\n")
    assert (row.device, row.patch_type) == ("p1", "live")


def test_columns_that_mean_nothing_here_are_named_and_passed_over(folder):
    path = write(folder, "image_name,label,Quality,yaw,material\na.jpg,1,3,4,print\n")
    layout = read_layout(path)
    assert layout.ignored[:2] == ("Quality", "yaw")
    assert "material" in layout.ignored[2]
    assert names_and_labels(read_rows(path, layout)) == [("a.jpg", 1)]


def test_columns_without_a_header_are_named_by_number(folder):
    assert read_layout(write(folder, "a.jpg,1,print\n")).ignored == ("column 3 (no header)",)


@pytest.mark.parametrize(
    "line, reason",
    [
        ("a.jpg,2", "label is '2', expected 0"),
        ("a.jpg,live", "label is 'live'"),
        ("a.jpg,", "label is ''"),
        (",1", "image_name is empty"),
        ("a.jpg", "1 columns, the header has 2"),
        ("a.jpg,1,x", "3 columns, the header has 2"),
    ],
)
def test_a_bad_row_carries_its_file_line_and_reason(folder, line, reason):
    good, bad = rows_of(folder, f"image_name,label\ngood.jpg,1\n{line}\n")
    assert good.label == 1
    assert isinstance(bad, BadRow)
    assert str(bad).startswith(f"{folder / 'train.csv'}:3: {reason}")


@pytest.mark.parametrize(
    "header, cells, reason",
    [
        ("attack_type", "1,print", "attack_type is 'print' although label is 1"),
        ("attack_type", "0,Bona-Fide", "although label is 0"),
        ("face_x,face_y,face_w,face_h", "1,1,2,,4", "face box is 1, 2, nothing, 4"),
        ("face_x,face_y,face_w,face_h", "1,1,2,3.5,4", "face box is 1, 2, 3.5, 4"),
        ("device,material", "1,p1,", "device without material"),
        ("device,material", "1,,print", "material without device"),
    ],
)
def test_contradicting_or_incomplete_cells_make_a_bad_row(folder, header, cells, reason):
    [row] = rows_of(folder, f"image_name,label,{header}\na.jpg,{cells}\n")
    assert isinstance(row, BadRow)
    assert reason in row.reason


def test_a_missing_closing_quote_is_a_bad_row_not_a_silent_loss(folder):
    rows = rows_of(folder, 'image_name,label\na.jpg,1\n"b.jpg,0\nc.jpg,1\nd.jpg,0\n')
    assert names_and_labels(rows[:1]) == [("a.jpg", 1)]
    assert isinstance(rows[1], BadRow)
    assert (rows[1].line, len(rows)) == (3, 2)
    assert "runs on to line 5" in rows[1].reason


def test_names_are_read_as_the_csv_module_wrote_them(folder):
    names = ["plain.jpg", 'comma, quote".jpg', "ünï/ćode.jpg", "semi;colon|pipe.jpg"]
    with open(folder / "train.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image_name", "label"), *((name, 1) for name in names)])
    assert [row.image_name for row in read_rows(folder / "train.csv")] == names


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("image_name,label\n", "no rows below the header"),
        ("image_name,labels\na.jpg,1\n", "no column label; found: image_name, labels; did you mean labels"),
        ("path,target\na.jpg,1\n", "no column image_name or label; found: path, target"),
        ("label,subject\n1,2\n", "no column image_name; found: label, subject"),
        ("image_name,label,LABEL\na.jpg,1,1\n", "names label more than once"),
        ("image_name,label,face_x,face_y\na.jpg,1,1,1\n", "names face_x, face_y but not face_w, face_h"),
        ("a.jpg 1\nb.jpg 0\n", "'a.jpg 1', has one column"),
        (b"image_name,label\na.jpg,1\n\xe9.jpg,1\n", "train.csv:3: not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read_says_what_was_found(folder, text, message):
    with pytest.raises(InputError, match=message) as raised:
        rows_of(folder, text)
    assert str(folder / "train.csv") in str(raised.value)


def test_splits_are_named_after_files_and_folders(folder):
    train = write(folder, "a.jpg,1", "train-set.1.csv")
    part = folder / "my test"
    part.mkdir()
    markup = write(part, "a.jpg,1", "markup.csv")
    found = find_csv_files([train, markup, f"other split={train}"])
    assert [(file.split, file.path) for file in found] == [
        ("train_set_1", train),
        ("my_test", markup),
        ("other_split", train),
    ]


def test_a_folder_means_its_markup_else_its_splits(folder):
    for name in ("test.csv", "train.csv"):
        write(folder, "a.jpg,1", name)
    assert [(file.split, file.path.name) for file in find_csv_files([folder])] == [
        ("train", "train.csv"),
        ("test", "test.csv"),
    ]
    write(folder, "a.jpg,1", "markup.csv")
    assert [(file.split, file.path.name) for file in find_csv_files([folder])] == [("nuaa", "markup.csv")]
    assert [file.split for file in find_csv_files([f"val={folder}"])] == ["val"]


def test_an_equals_sign_may_stand_in_a_path(tmp_path):
    folder = tmp_path / "size=160"
    folder.mkdir()
    path = write(folder, "a.jpg,1")
    assert [(file.split, file.path) for file in find_csv_files([path])] == [("train", path)]


@pytest.mark.parametrize("argument", ["=x.csv", "train="])
def test_half_an_argument_is_refused(argument):
    with pytest.raises(InputError, match="expected PATH or SPLIT=PATH"):
        find_csv_files([argument])


def test_a_missing_file_is_named_with_its_nearest_sibling(folder):
    write(folder, "a.jpg,1", "training.csv")
    with pytest.raises(InputError, match=r"trainin\.csv: no such CSV file or folder; did you mean training\.csv"):
        find_csv_files([folder / "trainin.csv"])


def test_a_folder_without_lists_says_what_was_looked_for(folder):
    with pytest.raises(InputError, match=r"looked for markup\.csv, then for train\.csv, val\.csv, test\.csv"):
        find_csv_files([folder])
    write(folder, "a.jpg,1", "all.csv")
    with pytest.raises(InputError, match=r"it has all\.csv"):
        find_csv_files([folder])


def test_a_list_given_twice_for_a_split_is_refused(folder):
    path = write(folder, "a.jpg,1")
    with pytest.raises(InputError, match="given twice for split train"):
        find_csv_files([path, folder])


def test_the_source_is_the_folder_of_the_dataset():
    assert source_name(Path("/data/nuaa/all.csv")) == "nuaa"
    assert source_name(Path("/data/nuaa/Train/markup.csv")) == "nuaa"
    assert source_name(Path("/test/markup.csv")) == "test"
    assert source_name(Path("/all.csv")) == "all"
