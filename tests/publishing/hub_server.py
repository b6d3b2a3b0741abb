"""A local server that answers as the Hub does: repositories, large files, commits, and reading them back."""

import base64
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class HubServer(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.requests: list[tuple[str, str]] = []
        self.heads: dict[str, str] = {}
        self.private: dict[str, bool] = {}
        self.files: dict[tuple[str, str], dict[str, bytes]] = {}  # by repository and commit
        self.large: dict[str, bytes] = {}
        self.before_commit: Any = None  # called with the repository, as somebody who is faster
        self.status = 0  # of every answer, if not 0

    def commit(self, repository: str, files: dict[str, bytes]) -> str:
        before = self.files.get((repository, self.heads.get(repository, "")), {})
        oid = hashlib.sha1(f"{repository}{len(self.files)}".encode()).hexdigest()
        self.files[repository, oid] = before | files
        self.heads[repository] = oid
        return oid


class Handler(http.server.BaseHTTPRequestHandler):
    server: HubServer

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.begin()
        parts = self.path.partition("?")[0].strip("/").split("/")
        if self.server.status:
            return self.answer(self.server.status, {"error": "told to"})
        repository = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        if repository not in self.server.heads:
            return self.answer(401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        head = self.server.heads[repository]
        if parts[0] == "api":
            names = [{"rfilename": name} for name in self.server.files[repository, head]]
            return self.answer(200, {"id": repository, "sha": head, "siblings": names})
        commit = head if parts[3] == "main" else parts[3]
        content = self.server.files[repository, commit].get("/".join(parts[4:]))
        extra = {"X-Repo-Commit": commit}
        if content is None:
            return self.answer(404, {"error": "Entry not found"}, extra | {"X-Error-Code": "EntryNotFound"})
        return self.answer(200, content, extra | {"ETag": f'"{hashlib.sha256(content).hexdigest()}"'})

    def do_PUT(self) -> None:
        self.begin()
        body = self.body()
        self.server.large[hashlib.sha256(body).hexdigest()] = body
        self.answer(200, {})

    def do_POST(self) -> None:
        self.begin()
        body, path = self.body(), self.path.partition("?")[0]
        if self.server.status:
            return self.answer(self.server.status, {"error": "told to"})
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(body)
            repository = f"{asked['organization']}/{asked['name']}"
            self.server.private[repository] = asked.get("private", asked.get("visibility") == "private")
            self.server.commit(repository, {".gitattributes": b"*.safetensors filter=lfs\n"})
            return self.answer(200, {"url": f"{self.server.url}/{repository}"})
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                one | {"actions": {"upload": {"href": f"{self.server.url}/upload/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            return self.answer(200, {"transfer": "basic", "objects": objects})
        repository = "/".join(path.split("/")[3:5])
        if "/preupload/" in path:
            modes = [
                {"path": one["path"], "shouldIgnore": False,
                 "uploadMode": "lfs" if one["path"].endswith((".safetensors", ".jpg")) else "regular"}
                for one in json.loads(body)["files"]
            ]  # fmt: skip
            return self.answer(200, {"files": modes})
        return self.commit(repository, [json.loads(line) for line in body.splitlines()])

    def commit(self, repository: str, lines: list[dict[str, Any]]) -> None:
        if self.server.before_commit is not None:
            self.server.before_commit(repository)
        files = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "header" and value.get("parentCommit") != self.server.heads[repository]:
                return self.answer(412, {"error": "A commit has happened since"})
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
        oid = self.server.commit(repository, files)
        return self.answer(200, {"commitOid": oid, "commitUrl": f"{self.server.url}/{repository}/commit/{oid}"})

    def begin(self) -> None:
        self.server.requests.append((self.command, self.path))

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def answer(self, code: int, content: Any, headers: dict[str, str] | None = None) -> None:
        sent = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(sent)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def running() -> Iterator[HubServer]:
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
