"""The page of docs/deploy in headless Chromium: it scores as processor and model do, and asks only its own server."""

import io
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

ENDED = '#status:text-matches("^(Scored|Choose) "), #problem:text-matches(".")'


class Handler(SimpleHTTPRequestHandler):
    """Files of a folder, without a log."""

    def __init__(self, *arguments, asked: list, **options):
        self.asked = asked
        super().__init__(*arguments, **options)

    def log_message(self, *arguments):
        self.asked.append(self.path)


class Server:
    """A folder on 127.0.0.1, and what it was asked for."""

    def __init__(self, folder):
        self.asked = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder, asked=self.asked))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def served(shipped, project, tmp_path_factory):
    """The page's folder with `model.onnx` and the captures in it."""
    if not (project / "docs" / "deploy" / "onnxruntime-web").is_dir():
        pytest.skip("onnxruntime-web isn't there: make web, which needs npm")
    folder = tmp_path_factory.mktemp("served") / "page"
    shutil.copytree(project / "docs" / "deploy", folder)
    shutil.copytree(shipped[0], folder, dirs_exist_ok=True)
    with Server(folder) as server:
        yield server


class Page:
    """The page as a user sees it. Requests to others than its server are refused, and listed in `strangers`."""

    def __init__(self, browser, server: Server, query="", width=1280):
        self.context = browser.new_context(viewport={"width": width, "height": 900})
        self.strangers, self.complaints = [], []

        def guard(route):
            if route.request.url.startswith(server.url):
                return route.continue_()
            self.strangers.append(route.request.url)
            return route.abort()

        self.context.route("**/*", guard)
        self.tab = self.context.new_page()
        self.tab.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.goto(server.url + query)

    def choose(self, kind: str, name: str, data: bytes) -> None:
        self.tab.locator(f"#{kind}").set_input_files({"name": name, "mimeType": "", "buffer": data})

    def said(self) -> tuple[str, str]:
        """Status and problem, once there is one of them."""
        self.tab.locator(ENDED).first.wait_for()
        return tuple(self.tab.locator(f"#{name}").inner_text() for name in ("status", "problem"))

    def score(self, Score):
        values = self.tab.locator("#patches data").evaluate_all("all => all.map(one => Number(one.value))")
        probability = float(self.tab.locator("#probability").get_attribute("value"))
        return Score(self.tab.locator("#verdict").inner_text(), probability, values)


@pytest.fixture(scope="module")
def page(browser, served):
    page = Page(browser, served, "?model=model.onnx")
    yield page
    assert page.strangers == [] and page.complaints == []
    page.context.close()


@pytest.fixture
def bare_page(browser, served):
    """Without a model."""
    page = Page(browser, served)
    yield page
    assert page.strangers == []
    page.context.close()


def test_every_picture_scores_as_by_processor_and_model(page, shipped, Score):
    _, pictures, expected = shipped
    for name, data in pictures.items():
        page.choose("picture", name, data)
        assert page.said() == (f"Scored {name} by model.onnx.", "")
        page.score(Score).assert_close(expected[name])


def test_a_face_box_in_a_photograph_is_grown_as_by_the_processor(page, shipped, Score, box):
    page.choose("picture", "live.jpg", shipped[1]["live.jpg"])
    for name, value in zip("xywh", box, strict=True):
        page.tab.get_by_label({"x": "Left", "y": "Top", "w": "Width", "h": "Height"}[name]).fill(str(value))
        page.tab.keyboard.press("Tab")
        wanted = "Choose all of the face box or none of it." if name != "h" else "Scored live.jpg by model.onnx."
        assert page.said() == (wanted, "")
    page.score(Score).assert_close(shipped[2]["in a photograph"])
    page.tab.get_by_label("Left").fill("500")
    page.tab.keyboard.press("Tab")
    assert page.said() == ("", "The face box 500, 21, 41, 37 lies outside the picture of 96 x 96 pixels.")
    for name in "xywh":
        page.tab.locator(f"#{name}").fill("")
        page.tab.keyboard.press("Tab")


def without_metadata(data: bytes) -> bytes:
    return changed(data, lambda graph: graph.ClearField("metadata_props"))


def of_patches(data: bytes) -> bytes:
    def change(graph):
        (entry,) = (entry for entry in graph.metadata_props if entry.key == "input")
        entry.value = "float"

    return changed(data, change)


def of_unknown_operators(data: bytes) -> bytes:
    def change(graph):
        graph.graph.node[0].op_type = "Divination"

    return changed(data, change)


def changed(data: bytes, change) -> bytes:
    graph = pytest.importorskip("onnx").load_from_string(data)
    change(graph)
    return graph.SerializeToString()


NO_GRAPH = "m.onnx isn't an ONNX graph, or is cut off."
OTHER_GRAPH = "m.onnx isn't a self-contained PatchNet graph: make one by scripts/export_onnx.py --self-contained."


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        (lambda data: b"PK\x03\x04 something else", NO_GRAPH),
        (lambda data: data[: len(data) // 2], NO_GRAPH),
        (lambda data: data[:-1], NO_GRAPH),
        (lambda data: b"", OTHER_GRAPH),
        (without_metadata, OTHER_GRAPH),
        (of_patches, OTHER_GRAPH),
        (of_unknown_operators, "m.onnx can't be loaded: "),
    ],
    ids=["no graph", "half of it", "last byte missing", "empty", "no metadata", "of patches", "unknown operator"],
)
def test_what_is_no_graph_of_ours_is_one_sentence(bare_page, shipped, Score, mistake, sentence):
    data = (shipped[0] / "model.onnx").read_bytes()
    bare_page.choose("picture", "live.jpg", shipped[1]["live.jpg"])
    assert bare_page.said() == ("Choose a model.", "")
    bare_page.choose("model", "m.onnx", mistake(data))
    status, problem = bare_page.said()
    assert status == "" and problem.startswith(sentence) and "\n" not in problem and len(problem) < 300
    assert not bare_page.tab.locator("#result").is_visible()


@pytest.mark.parametrize(
    "mistake",
    [
        lambda data: b"name,label\n",
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
    ],
    ids=["text", "empty", "half a picture", "drawing"],
)
def test_what_is_no_picture_is_one_sentence(page, shipped, mistake):
    page.choose("picture", "p.jpg", mistake(shipped[1]["live.jpg"]))
    assert page.said() == ("", "p.jpg isn't a picture that this browser can read.")
    assert not page.tab.locator("#result").is_visible()


def test_a_transparent_picture_is_refused(page):
    data = io.BytesIO()
    Image.new("RGBA", (40, 40), (200, 150, 120, 128)).save(data, format="PNG")
    page.choose("picture", "p.png", data.getvalue())
    assert page.said() == ("", "The picture is partly transparent; it must be opaque.")


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_window(browser, served, shipped, width):
    page = Page(browser, served, "?model=model.onnx", width)
    page.choose("picture", "live.jpg", shipped[1]["live.jpg"])
    assert page.said() == ("Scored live.jpg by model.onnx.", "")
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
    page.context.close()


def test_a_missing_model_beside_the_page_is_one_sentence(browser, served):
    page = Page(browser, served, "?model=absent.onnx")
    assert page.said() == ("", "absent.onnx can't be fetched from beside this page (404).")
    page.context.close()
