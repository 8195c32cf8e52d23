"""Asks for /health over and over, each time on a new connection, until a file appears; prints what became of it as JSON.

usage: load.py PORT STOPFILE [THREADS]. STOPFILE.began appears with the first answer. "refused" is a connection that nobody took; the other failures are connections that were taken and lost.
"""

import json
import os
import socket
import sys
import threading
import time

port, stop = int(sys.argv[1]), sys.argv[2]
threads = int(sys.argv[3]) if len(sys.argv) > 3 else 8
lock = threading.Lock()
counts = {"ok": 0, "refused": 0, "reset": 0, "timeout": 0, "other": 0}
longest = 0.0
request = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


def once():
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return "ok" if answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 503")) else "other"


def run():
    global longest
    while not os.path.exists(stop):
        began = time.monotonic()
        try:
            outcome = once()
        except ConnectionRefusedError:
            outcome = "refused"
        except (ConnectionResetError, BrokenPipeError):
            outcome = "reset"
        except TimeoutError:
            outcome = "timeout"
        with lock:
            if not sum(counts.values()):
                open(stop + ".began", "w").close()
            counts[outcome] += 1
            longest = max(longest, time.monotonic() - began)
        time.sleep(0.002)


workers = [threading.Thread(target=run) for _ in range(threads)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print(json.dumps({**counts, "longest_s": round(longest, 3)}))
