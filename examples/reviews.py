#!/usr/bin/env python3
"""Three versions of Bookinfo's `reviews` on ports 19081 to 19083: v1 without stars, v2 with black stars, v3 with red ones. They
need a second for paths below /slow/."""
import http.server
import json
import signal
import sys
import threading
import time

VERSIONS = {"v1": (19081, None), "v2": (19082, "black"), "v3": (19083, "red")}


def answer(version, color):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self):
            if self.path.startswith("/slow/"):
                time.sleep(1)
            reviews = [{"reviewer": "Reviewer1", "text": "Great fun from the first act to the last."},
                       {"reviewer": "Reviewer2", "text": "Funny, but a little thin beside his other plays."}]
            if color:
                reviews[0]["rating"] = {"stars": 5, "color": color}
                reviews[1]["rating"] = {"stars": 4, "color": color}
            body = json.dumps({"id": "0", "podname": f"reviews-{version}", "reviews": reviews}).encode() + b"\n"
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Handler


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    for version, (port, color) in VERSIONS.items():
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), answer(version, color))
        threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.pause()


if __name__ == "__main__":
    main()
