#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# A registry on loopback that misbehaves: registry_server.py LAYOUT BEHAVIOUR. Prints its port; each request is a line on
# standard error. It serves the layout's first image under any tag.
import hashlib
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

layout, behaviour = sys.argv[1:]
seen = set()
tokens = {"last": 0, "left": 0}
lock = threading.Lock()
pair = threading.Barrier(2)
LARGE = 100000  # bytes of a blob that is a layer
INDEX = "application/vnd.oci.image.index.v1+json"


def load(digest):
    with open(os.path.join(layout, "blobs", *digest.split(":")), "rb") as f:
        return f.read()


with open(os.path.join(layout, "index.json")) as index:
    descriptor = json.load(index)["manifests"][0]


def once(key):
    new = key not in seen
    seen.add(key)
    return new


class Registry(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=(), length=None):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def do_GET(self):
        host = self.headers["Host"]
        where = "elsewhere" if host.startswith("127.0.0.1") else "here"
        print(where, self.path, f"range={self.headers['Range']}",
              f"authorization={self.headers['Authorization']}", file=sys.stderr, flush=True)
        if behaviour == "token" and where == "here" and self.token():
            return
        if behaviour == "expiring-token" and self.expiring_token():
            return
        if behaviour == "busy" and once(self.path):
            self.answer(429 if "manifests" in self.path else 503, b"busy", [("Retry-After", "1")])
        elif behaviour == "later" and once("later"):
            self.answer(429, b"", [("Retry-After", "3")])
        elif behaviour == "always-busy":
            self.answer(503)
        elif behaviour == "html":
            self.answer(200, b"<html>Please log in.</html>", [("Content-Type", "text/html")])
        elif behaviour == "gone":
            self.answer(404)
        elif "/manifests/" in self.path:
            self.manifest(self.path.rsplit("/", 1)[1])
        elif "/blobs/" in self.path:
            self.blob(self.path.rsplit("/", 1)[1], where)
        else:
            self.answer(404)

    def token(self):
        if self.path.startswith("/token?"):
            good = self.headers["Authorization"] == "Basic dXNlcjpzZWNyZXQ="
            self.answer(200 if good else 401, b'{"token": "a.b-c"}')
            return True
        if self.headers["Authorization"] == "Bearer a.b-c":
            return False
        port = self.server.server_port
        self.answer(401, b"{}", [("WWW-Authenticate", f'Bearer realm="http://localhost:{port}/token",'
                                  'service="test",scope="repository:group/image:pull"')])
        return True

    # Good for two answers, and then there has to be a new one.
    def expiring_token(self):
        with lock:
            if self.path.startswith("/token?"):
                tokens["last"] += 1
                tokens["left"] = 2
                self.answer(200, json.dumps({"token": f"t{tokens['last']}", "expires_in": 60}).encode())
                return True
            if self.headers["Authorization"] == f"Bearer t{tokens['last']}" and tokens["left"]:
                tokens["left"] -= 1
                return False
        port = self.server.server_port
        self.answer(401, b"{}", [("WWW-Authenticate", f'Bearer realm="http://localhost:{port}/token",service="test"')])
        return True

    # An index of an index of the manifest, beside one for another machine.
    def nested(self, version):
        def entry(kind, body, **more):
            return {"mediaType": kind, "digest": "sha256:" + hashlib.sha256(body).hexdigest(), "size": len(body), **more}

        manifest = load(descriptor["digest"])
        other = {"mediaType": descriptor["mediaType"], "digest": "sha256:" + "9" * 64, "size": 100,
                 "platform": {"os": "linux", "architecture": "s390x"}}
        here = entry(descriptor["mediaType"], manifest, platform={"os": "linux", "architecture": "amd64"})
        inner = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [other, here]}).encode()
        outer = json.dumps({"schemaVersion": 2, "manifests": [entry(INDEX, inner)]}).encode()
        if version == here["digest"]:
            return descriptor["mediaType"], manifest
        if behaviour == "docker-list":
            kind = "application/vnd.docker.distribution.manifest.list.v2+json"
            return kind, json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [other, here]}).encode()
        return INDEX, inner if version.startswith("sha256:") else outer

    def manifest(self, version):
        kind = descriptor["mediaType"]
        body = load(descriptor["digest"])
        if behaviour in ("nested", "docker-list"):
            kind, body = self.nested(version)
        elif behaviour == "plain-type":
            kind = "text/plain"
        elif behaviour == "no-type":
            self.answer(200, body)
            return
        elif behaviour == "self-index":
            kind = INDEX
            body = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [
                {"mediaType": kind, "digest": "sha256:" + "1" * 64, "size": 0}]})
            body = body.replace('"size": 0', f'"size": {len(body) + 2}').encode()
        elif behaviour == "wrong-digest":
            config = json.loads(body)
            config["config"]["digest"] = "sha256:" + hashlib.sha256(b"other").hexdigest()
            body = json.dumps(config).encode()
        elif behaviour == "large-manifest":
            body = b" " * (5 << 20) + body
        elif behaviour == "file-redirect":
            self.answer(307, b"", [("Location", "file:///etc/passwd\033[2J")])
            return
        elif behaviour == "redirect-loop":
            self.answer(307, b"", [("Location", self.path)])
            return
        self.answer(200, body, [("Content-Type", kind + "; charset=utf-8")])

    # What is done to layers.
    def large(self, body, start):
        if behaviour == "together":
            pair.wait(timeout=10)
        elif behaviour == "corrupt":
            self.answer(200, body[:-1] + bytes([body[-1] ^ 1]))
            return True
        elif behaviour == "refuses-range" and start:
            self.answer(400)
            return True
        elif behaviour == "ignores-range":
            self.answer(200, body)
            return True
        elif behaviour in ("stall", "half"):
            # Three quarters of it; then nothing comes any more, or the connection is closed.
            self.answer(200, body[:len(body) * 3 // 4], length=len(body)) if not start else self.answer(503)
            if behaviour == "stall":
                time.sleep(60)
            self.close_connection = True
            return True
        return False

    def blob(self, digest, where):
        if behaviour == "wrong-digest":
            self.answer(200, load(json.loads(load(descriptor["digest"]))["config"]["digest"]))
            return
        if behaviour == "token" and where == "here":
            self.answer(307, b"", [("Location", f"http://127.0.0.1:{self.server.server_port}{self.path}")])
            return
        body = load(digest)
        start = int((self.headers["Range"] or "bytes=0-")[6:-1])
        if len(body) > LARGE and self.large(body, start):
            return
        if behaviour in ("truncate", "wrong-range") and not start and len(body) > LARGE:
            self.answer(200, body[:70001], length=len(body))
            self.close_connection = True
        elif start:
            given = start + (behaviour == "wrong-range")
            self.answer(206, body[given:], [("Content-Range", f"bytes {given}-{len(body) - 1}/{len(body)}")])
        else:
            self.answer(200, body)


class Server(ThreadingHTTPServer):
    daemon_threads = True


server = Server(("127.0.0.1", 0), Registry)
print(server.server_port, flush=True)
server.serve_forever()
