"""
A double of the Hugging Face Hub: a real HTTP server on 127.0.0.1, for the real clients with `HF_ENDPOINT`.

It answers what `huggingface_hub`, `transformers` and `datasets` ask when they create repositories, commit, list and
download, checks what is sent as the Hub does (tokens, hashes, parents of commits), and keeps in `unknown` what it was
asked and doesn't know.
"""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from hub_repositories import MAIN, Blob, Commit, Repository

USER = "someone"
TOKEN = "hf_" + "TestOnlyNobodyHasThisToken" + "00000000"
READ_TOKEN = "hf_" + "TestOnlyMayReadAndNotWrite" + "00000000"

# Files below this many bytes are committed inline, unless they are of a kind that always is large.
LARGE = 100_000
LARGE_SUFFIXES = (".safetensors", ".parquet", ".onnx", ".png", ".bin")


class Answer(Exception):
    """An answer other than a body with status 200."""

    def __init__(self, status: int, body=None, **headers):
        self.status, self.body, self.headers = status, body, headers


def not_found(code: str, message: str, **headers) -> Answer:
    return Answer(404, {"error": message}, **{"X-Error-Code": code, "X-Error-Message": message, **headers})


class HubDouble:
    """
    The server.

    Attributes:
        repositories: by kind (`"model"`, `"dataset"`) and name.
        requests: method and path of all requests, in order.
        tokens: those that came with requests.
        unknown: requests that it has no answer for; a test that uses the double expects none.
        page: files on one page of a listing.
        answers: whether it answers; otherwise it hangs up.
    """

    def __init__(self):
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[str] = []
        self.tokens: list[str | None] = []
        self.unknown: list[str] = []
        self.page = 4
        self.answers = True
        self._uploaded: dict[str, bytes] = {}
        self._lock = threading.Lock()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                if not hub.answers:
                    self.close_connection = True
                    return
                hub._respond(self, self.rfile.read(length) if length else b"")

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                # A client that has gone.
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            for held in (self.repositories, self.requests, self.tokens, self.unknown, self._uploaded):
                held.clear()
            self.answers = True

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def model(self, name: str) -> Repository:
        return self.repositories["model", name]

    def dataset(self, name: str) -> Repository:
        return self.repositories["dataset", name]

    def put(self, name: str, files: dict[str, bytes], branch: str = MAIN, kind: str = "model") -> Commit:
        """Files that somebody else has pushed; they become all that is on the branch."""
        repository = self.repositories.setdefault((kind, name), Repository(kind, name))
        blobs = {path: Blob(content, is_large(path, len(content))) for path, content in files.items()}
        return repository.commit(branch, "by somebody else", blobs)

    # Requests

    def _respond(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        parts = urlsplit(handler.path)
        path, query = unquote(parts.path), {name: values[0] for name, values in parse_qs(parts.query).items()}
        token = (handler.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        with self._lock:
            self.requests.append(f"{handler.command} {path}")
            self.tokens.append(token)
            try:
                answer = Answer(200, self._answer(handler.command, parts.path, path, query, body, token))
            except Answer as other:
                answer = other
        self._send(handler, answer)

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        content, kind = answer.body, "application/octet-stream"
        if not isinstance(content, bytes):
            content, kind = json.dumps(content).encode() if content is not None else b"", "application/json"
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", ""))
        if asked and answer.status == 200 and "Accept-Ranges" in answer.headers and handler.command == "GET":
            first, last, size = int(asked[1]), int(asked[2]), len(content)
            content = content[first : last + 1]
            span = f"bytes {first}-{first + len(content) - 1}/{size}"
            answer = Answer(206, content, **answer.headers, **{"Content-Range": span})
        # Of a HEAD the header says how long the body would be.
        headers = {"Content-Type": kind, "Content-Length": str(len(content)), **answer.headers}
        handler.send_response(answer.status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(content)

    def _answer(self, method: str, quoted: str, path: str, query: dict, body: bytes, token: str | None):
        if token not in (None, TOKEN, READ_TOKEN):
            message = "Invalid credentials in Authorization header"
            raise Answer(401, {"error": message}, **{"X-Error-Message": message})
        if path == "/api/whoami-v2":
            self._check_signed_in(token)
            return {"type": "user", "name": USER, "orgs": [], "auth": {"type": "access_token"}}
        if path == "/api/agent-harnesses":
            return {"standardEnvVars": [], "harnesses": {}}
        if path == "/api/validate-yaml":
            return self._validated_card(json.loads(body))
        if path == "/api/repos/create":
            return self._created(json.loads(body), token)
        if match := re.fullmatch(r"/lfs/(\w+)", path):
            return self._large_file(method, match[1], body)
        if match := re.fullmatch(r"/(datasets/)?([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch", path):
            self._check_may_write(match[2], token)
            return self._large_files_wanted(json.loads(body))
        # The revision is quoted: it may hold slashes, as the path does.
        if match := re.fullmatch(r"/(datasets/)?([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", quoted):
            kind = "dataset" if match[1] else "model"
            return self._resolved(kind, match[2], unquote(match[3]), unquote(match[4]), token)
        if match := re.fullmatch(
            r"/api/(model|dataset)s/([\w.-]+/[\w.-]+)(?:/([\w-]+)(?:/([^/]+)(?:/(.*))?)?)?", quoted
        ):
            kind, name, action, revision, rest = match.groups()
            repository = self._repository(kind, name, token)
            known = getattr(self, f"_api_{(action or 'info').replace('-', '_')}", None)
            if known is not None:
                return known(repository, method, unquote(revision or MAIN), unquote(rest or ""), query, body, token)
        self.unknown.append(f"{method} {path}")
        raise Answer(404, {"error": "Not Found"})

    # What may be done

    def _check_signed_in(self, token: str | None) -> None:
        if token is None:
            raise Answer(401, {"error": "Invalid username or password."})

    def _check_may_write(self, name: str, token: str | None) -> None:
        self._check_signed_in(token)
        if token == READ_TOKEN or not name.startswith(f"{USER}/"):
            message = f"You don't have the rights to write to {name}"
            raise Answer(403, {"error": message}, **{"X-Error-Message": message})

    def _repository(self, kind: str, name: str, token: str | None) -> Repository:
        repository = self.repositories.get((kind, name))
        if repository is None or (repository.private and token is None):
            # The Hub doesn't tell strangers whether there is one.
            status = 404 if token else 401
            error = not_found("RepoNotFound", "Repository not found")
            raise Answer(status, error.body, **error.headers)
        return repository

    def _commit(self, repository: Repository, revision: str) -> Commit:
        commit = repository.at(revision)
        if commit is None:
            raise not_found("RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    # Routes

    def _validated_card(self, sent: dict) -> dict:
        header = re.match(r"---\n(.*?)\n---\n", sent["content"], flags=re.DOTALL)
        if header is None:
            return {"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]}
        import yaml

        try:
            held = yaml.safe_load(header[1])
        except yaml.YAMLError as error:
            raise Answer(400, {"errors": [{"message": str(error)}], "warnings": []}) from error
        if not isinstance(held, dict) or not isinstance(held.get("tags", []), list):
            raise Answer(400, {"errors": [{"message": "metadata of the wrong kind"}], "warnings": []})
        return {"errors": [], "warnings": []}

    def _created(self, sent: dict, token: str | None) -> dict:
        self._check_signed_in(token)
        kind, name = sent.get("type") or "model", f"{sent.get('organization') or USER}/{sent['name']}"
        url = f"{self.url}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if (kind, name) in self.repositories and token == TOKEN:
            raise Answer(409, {"error": "You already created this repo", "url": url})
        self._check_may_write(name, token)
        private = bool(sent.get("private")) or sent.get("visibility") == "private"
        self.repositories[kind, name] = Repository(kind, name, private)
        return {"url": url, "name": name, "id": name}

    def _large_files_wanted(self, sent: dict) -> dict:
        objects = []
        for wanted in sent["objects"]:
            entry = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self._uploaded:
                entry["actions"] = {
                    "upload": {"href": f"{self.url}/lfs/{wanted['oid']}"},
                    "verify": {"href": f"{self.url}/lfs/{wanted['oid']}"},
                }
            objects.append(entry)
        return {"transfer": "basic", "objects": objects}

    def _large_file(self, method: str, oid: str, body: bytes):
        if method == "PUT":
            if hashlib.sha256(body).hexdigest() != oid:
                raise Answer(400, {"error": "the file isn't what its hash says"})
            self._uploaded[oid] = body
            return b""
        sent = json.loads(body)
        if len(self._uploaded[oid]) != sent["size"]:
            raise Answer(400, {"error": "the file isn't as long as said"})
        return {}

    def _resolved(self, kind: str, name: str, revision: str, path: str, token: str | None):
        commit = self._commit(self._repository(kind, name, token), revision)
        if path not in commit.files:
            raise not_found("EntryNotFound", "Entry not found", **{"X-Repo-Commit": commit.sha})
        blob = commit.files[path]
        headers = {"ETag": f'"{blob.etag}"', "X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes"}
        raise Answer(200, blob.content, **headers)

    def _api_info(self, repository, method, revision, rest, query, body, token) -> dict:
        commit = self._commit(repository, revision)
        names = [{"rfilename": path} for path in commit.files]
        return {
            "_id": "0" * 24,
            "id": repository.name,
            "modelId": repository.name,
            "author": USER,
            "sha": commit.sha,
            "lastModified": commit.date,
            "createdAt": commit.date,
            "private": repository.private,
            "gated": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "siblings": names,
        }

    _api_revision = _api_info

    def _api_refs(self, repository, method, revision, rest, query, body, token) -> dict:
        branches = [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": sha}
            for name, sha in repository.branches.items()
        ]
        return {"branches": branches, "converts": [], "tags": [], "pullRequests": []}

    def _api_branch(self, repository, method, revision, rest, query, body, token) -> dict:
        self._check_may_write(repository.name, token)
        if revision in repository.branches:
            raise Answer(409, {"error": "Reference already exists"})
        start = (json.loads(body) if body else {}).get("startingPoint") or MAIN
        repository.branches[revision] = self._commit(repository, start).sha
        return {}

    def _api_tree(self, repository, method, revision, rest, query, body, token):
        commit = self._commit(repository, revision)
        recursive = query.get("recursive", "").lower() in ("true", "1")
        entries = listed(commit.files, rest.strip("/"), recursive)
        if rest and not entries:
            raise not_found("EntryNotFound", f"{rest} does not exist on {revision}", **{"X-Repo-Commit": commit.sha})
        start = int(query.get("cursor", 0))
        headers = {"X-Repo-Commit": commit.sha}
        if start + self.page < len(entries):
            kind = f"{repository.kind}s"
            where = f"{self.url}/api/{kind}/{repository.name}/tree/{revision.replace('/', '%2F')}/{rest}".rstrip("/")
            asked = "".join(f"&{name}={value}" for name, value in query.items() if name != "cursor")
            headers["Link"] = f'<{where}?cursor={start + self.page}{asked}>; rel="next"'
        raise Answer(200, entries[start : start + self.page], **headers)

    def _api_paths_info(self, repository, method, revision, rest, query, body, token) -> list:
        commit = self._commit(repository, revision)
        try:
            paths = json.loads(body)["paths"]
        except ValueError:
            paths = parse_qs(body.decode()).get("paths", [])
        found = []
        for path in [paths] if isinstance(paths, str) else paths:
            if path in commit.files:
                found.append(commit.files[path].described(path))
            elif any(name.startswith(f"{path}/") for name in commit.files):
                found.append({"type": "directory", "path": path, "oid": commit.sha, "size": 0})
        return found

    def _api_preupload(self, repository, method, revision, rest, query, body, token) -> dict:
        self._check_may_write(repository.name, token)
        commit = self._commit(repository, revision)
        files = []
        for sent in json.loads(body)["files"]:
            entry = {"path": sent["path"], "shouldIgnore": False}
            entry["uploadMode"] = "lfs" if is_large(sent["path"], sent["size"]) else "regular"
            if sent["path"] in commit.files:
                entry["oid"] = commit.files[sent["path"]].etag
            files.append(entry)
        return {"files": files, "commitOid": commit.sha}

    def _api_commit(self, repository, method, revision, rest, query, body, token) -> dict:
        self._check_may_write(repository.name, token)
        if revision not in repository.branches:
            raise not_found("RevisionNotFound", f"Invalid rev id: {revision}")
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        (header,) = (line["value"] for line in lines if line["key"] == "header")
        before = repository.at(revision)
        if header.get("parentCommit") not in (None, before.sha):
            raise Answer(412, {"error": "A commit has happened since"})
        files = dict(before.files)
        for line in lines:
            key, value = line["key"], line["value"]
            if key == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]), False)
            elif key == "lfsFile":
                if value["oid"] not in self._uploaded:
                    raise Answer(400, {"error": f"{value['path']} was never uploaded"})
                files[value["path"]] = Blob(self._uploaded[value["oid"]], True)
            elif key == "deletedFile":
                del files[value["path"]]
            elif key == "deletedFolder":
                files = {path: blob for path, blob in files.items() if not path.startswith(value["path"])}
            elif key != "header":
                raise Answer(400, {"error": f"unknown operation {key}"})
        commit = repository.commit(revision, header["summary"], files)
        return {
            "success": True,
            "commitOid": commit.sha,
            "commitUrl": f"{self.url}/{repository.name}/commit/{commit.sha}",
        }


def is_large(path: str, size: int) -> bool:
    return size >= LARGE or path.endswith(LARGE_SUFFIXES)


def listed(files: dict[str, Blob], folder: str, recursive: bool) -> list[dict]:
    """Entries of a folder, and of all below it; folders first, as the Hub has them."""
    prefix = f"{folder}/" if folder else ""
    inside = {path: blob for path, blob in files.items() if path.startswith(prefix)}
    folders, direct = set(), []
    for path, blob in sorted(inside.items()):
        below = path.removeprefix(prefix).split("/")[:-1]
        folders |= {
            prefix + "/".join(below[:depth]) for depth in range(1, len(below) + 1 if recursive else 2) if below
        }
        if recursive or not below:
            direct.append(blob.described(path))
    return [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(folders)] + direct
