"""In place of wollomatic/socket-proxy: the same options, as its documentation has them.

A request passes when its path matches the pattern of its method, with ^ before and $ behind that and no brackets around
it, and comes from an address of the host that `-allowfrom` names; otherwise it is refused.
"""

from __future__ import annotations

import re
import socket
import sys
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OPTIONS = dict(option.lstrip("-").partition("=")[::2] for option in sys.argv[1:])
SOCKET = "/var/run/docker.sock"
PORT = 2375


class Upstream(HTTPConnection):
    """The Engine behind its socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)


class Proxy(BaseHTTPRequestHandler):
    """One request, passed on or not."""

    def pass_on(self) -> None:
        pattern, senders = OPTIONS.get(f"allow{self.command}"), socket.gethostbyname_ex(OPTIONS["allowfrom"])[2]
        known = self.client_address[0] in senders
        if not (known and pattern and re.search(rf"^{pattern}\Z", self.path.partition("?")[0])):
            self.send_error(403)
        else:
            upstream = Upstream("docker")
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            upstream.request(self.command, self.path, sent, dict(self.headers))
            answer = upstream.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"transfer-encoding", "content-length", "connection"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    do_GET = do_POST = pass_on  # noqa: N815 the name is http.server's


ThreadingHTTPServer((OPTIONS["listenip"], PORT), Proxy).serve_forever()
