"""A process that behaves like one of ours for the supervisor: answers on a port, or fails as its arguments say.

stand_in.py [--port-from VARIABLE] [--deaf] [--escapee FILE] [--fail MESSAGE]
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from carrara.kernel.heartbeat import beat


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *parts: object) -> None:
        return


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port-from")
    parser.add_argument("--deaf", action="store_true", help="does not hear SIGTERM")
    parser.add_argument("--escapee", type=Path, help="leaves a grandchild in a session of its own, and its pid here")
    parser.add_argument("--fail", help="says this and ends with exit code 1")
    wanted = parser.parse_args()
    if wanted.fail:
        sys.exit(wanted.fail)
    if wanted.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if wanted.escapee:
        sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        wanted.escapee.write_text(str(sleeper.pid))
    if wanted.port_from:
        ThreadingHTTPServer(("127.0.0.1", int(os.environ[wanted.port_from])), Answer).serve_forever()
    while True:
        beat()
        time.sleep(0.2)


if __name__ == "__main__":
    main()
